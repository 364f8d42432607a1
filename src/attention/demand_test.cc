// The plan of a layer against the selection it was made from, reader by reader.
#include "attention/demand.h"

#include <gtest/gtest.h>

#include <map>
#include <set>
#include <tuple>

#include "base/rng.h"

namespace nosa::attention {
namespace {

struct Problem {
  Selection selection;
  std::vector<Segment> segments;
};

// Rows of `lengths` after one another; every visible block with probability `density`, the own block always.
Problem MakeProblem(const std::vector<int>& lengths, int kv_heads, int block, float density, uint64_t seed) {
  Problem problem;
  const Philox rng(seed);
  uint64_t draw = 0;
  int rows = 0, most = 0;
  for (size_t i = 0; i < lengths.size(); ++i) {
    const int first = static_cast<int>(rng.Block(1'000'000 + i)[0] % 900);
    problem.segments.push_back({SeqId(static_cast<int32_t>(i)), rows, lengths[i], first});
    rows += lengths[i];
    most = std::max(most, (first + lengths[i]) / block + 1);
  }
  problem.selection.Reset(rows, kv_heads, most);
  for (const Segment& segment : problem.segments) {
    for (int i = 0; i < segment.rows; ++i) {
      const int own = (segment.first_pos + i) / block;
      for (int g = 0; g < kv_heads; ++g) {
        SetBit(problem.selection.Mask(segment.row_begin + i, g), own);
        for (int b = 0; b < own; ++b) {
          if (rng.Uniform(draw++) < density) SetBit(problem.selection.Mask(segment.row_begin + i, g), b);
        }
      }
    }
  }
  return problem;
}

int64_t Parts(const Selection& selection) {
  int64_t parts = 0;
  for (int r = 0; r < selection.rows(); ++r) {
    for (int g = 0; g < selection.kv_heads(); ++g) parts += CountBits(selection.Mask(r, g));
  }
  return parts;
}

// Everything the header promises.
void ExpectPlan(const Problem& problem, const Demand& demand) {
  const Selection& selection = problem.selection;
  const int heads = selection.kv_heads(), slots = selection.rows() * heads;
  const int64_t parts = Parts(selection);
  const bool running = demand.mode == StateMode::kRunning;
  EXPECT_EQ(running, parts > kMostParts);
  EXPECT_EQ(demand.states, running ? slots : parts);
  ASSERT_EQ(demand.offsets.size(), static_cast<size_t>(slots) + 1);
  ASSERT_EQ(demand.order.size(), static_cast<size_t>(demand.states));
  ASSERT_EQ(demand.offsets.front(), 0);
  ASSERT_EQ(demand.offsets.back(), demand.states);
  ASSERT_EQ(demand.refs.size(), static_cast<size_t>(parts));

  std::map<std::tuple<int, int, int>, int32_t> state_of;  // (row, head, block)
  std::tuple<int, int, int> before = {-1, -1, -1};
  int32_t next_ref = 0;
  for (const Reader& reader : demand.readers) {
    const std::tuple<int, int, int> place = {reader.kv_head, reader.segment, reader.block};
    EXPECT_LT(before, place) << "by KV head, segment, block, each once";
    before = place;
    EXPECT_EQ(reader.ref_begin, next_ref);
    ASSERT_GT(reader.ref_count, 0);
    next_ref += reader.ref_count;
    const Segment& segment = problem.segments[static_cast<size_t>(reader.segment)];
    int32_t last_row = segment.row_begin - 1;
    for (int32_t i = reader.ref_begin; i < next_ref; ++i) {
      const auto& ref = demand.refs[static_cast<size_t>(i)];
      EXPECT_GT(ref.row, last_row) << "ascending rows of the segment";
      last_row = ref.row;
      ASSERT_LT(ref.row, segment.row_begin + segment.rows);
      EXPECT_TRUE(GetBit(selection.Mask(ref.row, reader.kv_head), reader.block));
      state_of[{ref.row, reader.kv_head, reader.block}] = ref.state;
    }
  }
  ASSERT_EQ(state_of.size(), static_cast<size_t>(parts)) << "every selected block of every row has one reader";

  for (int r = 0; r < selection.rows(); ++r) {
    for (int g = 0; g < heads; ++g) {
      const size_t slot = static_cast<size_t>(r * heads + g);
      std::vector<int32_t> states;
      ForEachBit(selection.Mask(r, g), [&](int b) { states.push_back(state_of.at({r, g, b})); });
      const std::vector<int32_t> merged(demand.order.begin() + demand.offsets[slot],
                                        demand.order.begin() + demand.offsets[slot + 1]);
      if (running) {
        EXPECT_EQ(merged, std::vector<int32_t>{static_cast<int32_t>(slot)});
        EXPECT_EQ(std::set<int32_t>(states.begin(), states.end()), std::set<int32_t>{static_cast<int32_t>(slot)});
      } else {
        EXPECT_EQ(merged, states) << "ascending blocks: row " << r << " head " << g;
      }
    }
  }
}

TEST(BuildDemand, MatchesTheSelection) {
  Demand demand;  // used again, as layers do
  uint64_t seed = 0;
  for (const std::vector<int>& lengths : std::vector<std::vector<int>>{{1}, {1, 1, 1}, {40}, {7, 0, 1, 300}, {64, 1}}) {
    for (const int heads : {1, 3}) {
      for (const float density : {0.0f, 0.1f, 0.9f}) {
        const Problem problem = MakeProblem(lengths, heads, 8, density, ++seed);
        SCOPED_TRACE(fmt::format("{} segments, {} heads, {} of blocks", lengths.size(), heads, density));
        BuildDemand(problem.selection, problem.segments, &demand);
        ExpectPlan(problem, demand);
      }
    }
  }
}

TEST(BuildDemand, NoRowsIsAnEmptyPlan) {
  Problem problem;
  problem.selection.Reset(0, 2, 1);
  Demand demand;
  BuildDemand(problem.selection, problem.segments, &demand);
  EXPECT_TRUE(demand.readers.empty());
  EXPECT_EQ(demand.states, 0);
  EXPECT_EQ(demand.offsets, std::vector<int32_t>{0});
}

// Without refs: the same readers, each of all rows of its segment; few parts still have refs.
TEST(BuildDemand, MaskedPlansHaveNoRefs) {
  for (const int rows : {40, 700}) {
    const Problem problem = MakeProblem({rows, 1}, 2, 8, 0.5f, 77);
    Demand plain, masked;
    BuildDemand(problem.selection, problem.segments, &plain);
    BuildDemand(problem.selection, problem.segments, &masked, true);
    EXPECT_EQ(masked.masked, plain.mode == StateMode::kRunning);
    EXPECT_EQ(masked.masked, rows == 700);
    EXPECT_EQ(masked.offsets, plain.offsets);
    EXPECT_EQ(masked.refs.size(), masked.masked ? 0 : plain.refs.size());
    ASSERT_EQ(masked.readers.size(), plain.readers.size());
    for (size_t i = 0; i < plain.readers.size(); ++i) {
      const Reader &a = plain.readers[i], &b = masked.readers[i];
      EXPECT_EQ(std::tie(a.kv_head, a.segment, a.block), std::tie(b.kv_head, b.segment, b.block));
      if (!masked.masked) continue;
      EXPECT_EQ(b.ref_begin, problem.segments[static_cast<size_t>(b.segment)].row_begin);
      EXPECT_EQ(b.ref_count, problem.segments[static_cast<size_t>(b.segment)].rows);
    }
  }
}

// What a plan made without a look at the selection has: that of a selection of everything.
TEST(BuildDemand, WholePlansReadEveryBlock) {
  const Problem problem = MakeProblem({700, 1}, 2, 8, 1.0f, 77);
  Demand looked, whole;
  BuildDemand(problem.selection, problem.segments, &looked, true);
  BuildWholeDemand(problem.selection.rows(), 2, 8, problem.segments, &whole);
  ASSERT_TRUE(looked.masked && whole.masked);
  EXPECT_EQ(whole.mode, looked.mode);
  EXPECT_EQ(whole.states, looked.states);
  EXPECT_EQ(whole.offsets, looked.offsets);
  EXPECT_EQ(whole.order, looked.order);
  ASSERT_EQ(whole.readers.size(), looked.readers.size());
  for (size_t i = 0; i < whole.readers.size(); ++i) {
    const Reader &a = looked.readers[i], &b = whole.readers[i];
    EXPECT_EQ(std::tie(a.kv_head, a.segment, a.block, a.ref_begin, a.ref_count),
              std::tie(b.kv_head, b.segment, b.block, b.ref_begin, b.ref_count));
  }
}

// Both sides of the limit: the last part that is kept apart, and the first that is not.
TEST(BuildDemand, ModeChangesBeyondTheMostParts) {
  constexpr int kRows = 128, kBlocks = static_cast<int>(kMostParts) / kRows;
  Problem problem;
  problem.selection.Reset(kRows, 1, kBlocks + 1);
  problem.segments = {{SeqId(0), 0, kRows, 100'000}};
  for (int r = 0; r < kRows; ++r) {
    for (int b = 0; b < kBlocks; ++b) SetBit(problem.selection.Mask(r, 0), b);
  }
  Demand demand;
  BuildDemand(problem.selection, problem.segments, &demand);
  EXPECT_EQ(demand.mode, StateMode::kParts);
  ExpectPlan(problem, demand);
  SetBit(problem.selection.Mask(5, 0), kBlocks);
  BuildDemand(problem.selection, problem.segments, &demand);
  EXPECT_EQ(demand.mode, StateMode::kRunning);
  ExpectPlan(problem, demand);
}

}  // namespace
}  // namespace nosa::attention
