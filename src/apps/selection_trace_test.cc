#include "apps/selection_trace.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <list>
#include <set>

#include "attention/selection.h"
#include "io/safetensors.h"
#include "ops/reference/reference_backend.h"

namespace nosa::apps {
namespace {

constexpr TraceShape kShape = {.rows = 2, .steps = 600, .lanes = 3, .width = 46, .selected = 64, .places = 900};

std::vector<uint16_t> Picks(const std::vector<uint16_t>& trace, int row, int step, int lane) {
  const size_t at = ((static_cast<size_t>(row) * kShape.steps + static_cast<size_t>(step)) * kShape.lanes +
                     static_cast<size_t>(lane)) *
                    kShape.width;
  return {trace.begin() + static_cast<ptrdiff_t>(at), trace.begin() + static_cast<ptrdiff_t>(at + kShape.width)};
}

// Misses a step of one lane with an LRU of `slots` blocks, after a warm-up.
double Misses(const std::vector<uint16_t>& trace, size_t slots) {
  std::list<uint16_t> recent;
  int missing = 0;
  for (int step = 0; step < kShape.steps; ++step) {
    for (const uint16_t pick : Picks(trace, 1, step, 2)) {
      const auto found = std::find(recent.begin(), recent.end(), pick);
      if (found == recent.end()) {
        missing += step >= 200 ? 1 : 0;
      } else {
        recent.erase(found);
      }
      recent.push_front(pick);
    }
    while (recent.size() > slots) recent.pop_back();
  }
  return missing / 400.0;
}

TEST(SelectionTrace, KeepsTheLocalityAskedForAndPicksEachPlaceOnce) {
  for (const TraceReuse reuse : {TraceReuse::kUniform, TraceReuse::kStack}) {
    const std::vector<uint16_t> trace = MakeTrace(kShape, 0.944, reuse, 1);
    double changed = 0;
    for (int row = 0; row < kShape.rows; ++row) {
      for (int lane = 0; lane < kShape.lanes; ++lane) {
        std::set<uint16_t> before;
        for (int step = 0; step < kShape.steps; ++step) {
          const std::vector<uint16_t> list = Picks(trace, row, step, lane);
          const std::set<uint16_t> now(list.begin(), list.end());
          ASSERT_EQ(now.size(), list.size());
          ASSERT_LT(*now.rbegin(), kShape.places);
          for (const uint16_t pick : now) changed += step > 0 && !before.contains(pick) ? 1 : 0;
          before = now;
        }
      }
    }
    // 5.6 % of 64 a step; 3,594 draws of whether it is three or four have a deviation of 0.008.
    EXPECT_NEAR(changed / (kShape.rows * kShape.lanes * (kShape.steps - 1)), 0.056 * 64, 0.04);
    EXPECT_NE(Picks(trace, 0, 10, 0), Picks(trace, 1, 10, 0));
    EXPECT_EQ(trace, MakeTrace(kShape, 0.944, reuse, 1));
  }
}

// What tells the two apart: how many misses half as many slots again save.
TEST(SelectionTrace, OnlyTheStackRewardsSlots) {
  const std::vector<uint16_t> uniform = MakeTrace(kShape, 0.944, TraceReuse::kUniform, 1);
  const std::vector<uint16_t> stack = MakeTrace(kShape, 0.944, TraceReuse::kStack, 1);
  const size_t slots = 46 + 32;
  EXPECT_GT(Misses(uniform, slots), 0.9 * Misses(uniform, 46));
  EXPECT_LT(Misses(stack, slots), 0.35 * Misses(stack, 46));
}

std::string Written(const std::vector<uint8_t>& selected, const Shape& shape) {
  const std::string file = testing::TempDir() + "/trace.safetensors";
  io::SafetensorsWriter writer;
  for (const char* name : {"layer.0.selected", "layer.1.selected"}) {
    writer.Add(name, ConstTensorView(selected.data(), DType::kU8, shape));
  }
  const Status status = writer.Write(file);
  EXPECT_TRUE(status.ok()) << status.ToString();
  return file;
}

// Two steps, two KV heads, eight blocks; the first block and each step's own and the one before it are forced.
TEST(SelectionTrace, ReadsWhatTraceWrites) {
  const std::vector<uint8_t> selected = {1, 0, 1, 0, 0, 1, 1, 0, 1, 1, 0, 1, 0, 1, 1, 0,   // own block 6
                                         1, 0, 0, 0, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0, 1, 1};  // own block 7
  const Result<RecordedTrace> trace = ReadTrace(Written(selected, {2, 2, 8}), 1, 1);
  ASSERT_TRUE(trace.ok()) << trace.status().ToString();
  EXPECT_EQ(trace->steps, 2);
  EXPECT_EQ(trace->lanes, 4);
  EXPECT_EQ(trace->width, 2);
  EXPECT_EQ(trace->last_block, 7);
  constexpr uint16_t kNone = 65535;
  const std::vector<uint16_t> first = {1, kNone, 0, 2}, second = {3, kNone, kNone, kNone};
  std::vector<uint16_t> expected;
  for (const std::vector<uint16_t>& step : {first, second}) {
    for (int layer = 0; layer < 2; ++layer) expected.insert(expected.end(), step.begin(), step.end());
  }
  EXPECT_EQ(trace->picks, expected);
}

// What a model's steps selected, position by position, comes back as picks.
TEST(SelectionTrace, ReadsWhatIsRecorded) {
  const auto backend = ops::reference::MakeReferenceBackend();
  model::LoadOptions options;
  options.backend = backend.get();
  const auto model = model::Model::Open(NOSA_SOURCE_DIR "/models/nosa-21m", options).value();
  const int layers = model->config().num_layers, heads = model->config().num_kv_heads;
  SelectionRecorder recorder(*model, 700);  // 11 blocks
  // Rows 0 and 1 of a pass; the second is the sequence's.
  for (const int own : {9, 10}) {
    model::SelectionRecord record;
    record.layers.resize(static_cast<size_t>(layers));
    for (int layer = 0; layer < layers; ++layer) {
      model::Selection& selection = record.layers[static_cast<size_t>(layer)];
      selection.Reset(2, heads, 11);
      for (int g = 0; g < heads; ++g) {
        for (const int block : {0, 2 + (layer + g) % 3, own - 1, own}) attention::SetBit(selection.Mask(1, g), block);
      }
    }
    recorder.Add(record, 1);
  }
  EXPECT_EQ(recorder.positions(), 2);
  const std::string file = testing::TempDir() + "/recorded.safetensors";
  io::SafetensorsWriter writer;
  recorder.AddTo(&writer);
  ASSERT_TRUE(writer.Write(file).ok());
  const Result<RecordedTrace> trace = ReadTrace(file, 1, 1);
  ASSERT_TRUE(trace.ok()) << trace.status().ToString();
  EXPECT_EQ(trace->steps, 2);
  EXPECT_EQ(trace->lanes, layers * heads);
  EXPECT_EQ(trace->width, 1);
  EXPECT_EQ(trace->last_block, 10);
  for (int step = 0; step < 2; ++step) {
    for (int lane = 0; lane < trace->lanes; ++lane) {
      EXPECT_EQ(trace->picks[static_cast<size_t>(step * trace->lanes + lane)], 1 + (lane / heads + lane % heads) % 3);
    }
  }
}

TEST(SelectionTrace, SaysWhatAFileLacks) {
  const std::vector<uint8_t> selected(16, 1);
  const Result<RecordedTrace> flat = ReadTrace(Written(selected, {2, 8}), 1, 1);
  ASSERT_FALSE(flat.ok());
  EXPECT_NE(flat.status().ToString().find("expected selections u8 [steps, KV heads, blocks]"), std::string::npos);
  EXPECT_NE(flat.status().ToString().find("found u8 [2, 8]"), std::string::npos);
  EXPECT_FALSE(ReadTrace(testing::TempDir() + "/absent", 1, 1).ok());
  EXPECT_FALSE(ParseTraceReuse("often").ok());
}

}  // namespace
}  // namespace nosa::apps
