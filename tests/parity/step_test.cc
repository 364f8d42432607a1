// Decode steps planned on the device (model/step.h) against the engine's own way, which plans them on the host: the
// same tokens from the same prompt; the same bits wherever blocks are kept, whenever they are fetched, whoever else
// sits.
#include "model/step.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "kv/fetch.h"
#include "model/runner.h"
#include "tests/parity/engine_test_util.h"
#include "tests/parity/small_models.h"

namespace nosa::engine {
namespace {

using model::DecodeStep;
using model::StepSchedule;

// A block that is no power of two, windows of three strides, head size 10, two KV heads of three.
schema::ModelConfig OddSizes() {
  schema::ModelConfig config = SmallModel();
  config.num_layers = 2;
  config.hidden_size = 60;
  config.num_heads = 6;
  config.num_kv_heads = 2;
  config.head_dim = 10;
  config.intermediate_size = 33;
  config.tie_embeddings = false;
  config.sparse = {.block_size = 12,
                   .kernel_size = 18,
                   .kernel_stride = 6,
                   .init_blocks = 1,
                   .window_size = 24,
                   .topk = 9,
                   .query_topk = 4};
  return config;
}

// A sequence after its prompt, as plain memory, and what the engine goes on with.
struct Prefilled {
  int length = 0;
  TokenId next = 0;
  std::vector<std::byte> blocks;  // [lanes, blocks, frame bytes]
  Buffer summaries;               // as SummaryLayout says, in compute memory
  std::vector<TokenId> tokens;    // after `next`
  std::vector<std::vector<float>> logits;
};

// Somebody who sits in a seat for the steps [join, leave).
struct Sitting {
  const Prefilled* sequence = nullptr;
  int seat = 0;
  int join = 0;
  int leave = 0;
};

// What the steps gave one of them.
struct Decoded {
  std::vector<TokenId> tokens;
  std::vector<std::vector<float>> logits;
  std::vector<std::byte> homes;  // at the end
};

bool SameBits(const std::vector<std::vector<float>>& a, const std::vector<std::vector<float>>& b) {
  return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
    return x.size() == y.size() && std::memcmp(x.data(), y.data(), x.size() * sizeof(float)) == 0;
  });
}

struct Where {
  std::string model;  // "nosa-21m" or a random checkpoint
  std::string selector;
  std::string backend;
  DType dtype = DType::kF32;
  friend std::ostream& operator<<(std::ostream& out, const Where& w) {
    return out << w.model << "_" << w.selector << "_" << w.backend << "_" << DTypeName(w.dtype);
  }
};

class StepRig {
 public:
  StepRig(const Where& where, int max_tokens) : where_(where), max_tokens_(max_tokens) {
    backend_ = MakeBackend(where.backend, 2);
    std::string directory = DemoModel();
    if (where.model == "OneKvHead") directory = SmallCheckpoint("step_one_kv_head", OneKvHead(false), 5);
    if (where.model == "OddSizes") directory = SmallCheckpoint("step_odd_sizes", OddSizes(), 5);
    auto model = model::Model::Open(directory, {.dtype = where.dtype, .backend = backend_.get()});
    EXPECT_TRUE(model.ok()) << model.status().ToString();
    model_ = *model;
    kv::StoreOptions options;
    options.layout = model_->block_layout();
    options.min_slots_per_lane = model_->MinSlotsPerLane();
    store_ = kv::KvStore::Create(std::move(options), backend_.get()).value();
    runner_ = model::Runner::Create(model_, {.selector = where.selector}, store_.get(), backend_.get()).value();
    frame_ = kv::FrameOf(store_->layout());
  }

  // A prompt through the host-driven engine, its cache at the end, and `steps` greedy tokens more.
  Prefilled Prefill(int tokens, int steps, uint64_t stream) {
    std::vector<TokenId> prompt;
    const Philox rng(29, stream);
    const uint32_t words = static_cast<uint32_t>(model_->config().vocab_size) - 3;
    for (uint64_t i = 0; i < static_cast<uint64_t>(tokens); ++i)
      prompt.push_back(static_cast<TokenId>(3 + rng.Block(i)[0] % words));
    const SeqId seq = store_->Open(model_->SequenceNeeds(max_tokens_)).value();
    const int chunk = 16 * store_->layout().block_size <= 512 ? 16 * store_->layout().block_size : 512;
    std::vector<float> logits;
    for (int first = 0; first < tokens; first += chunk) {
      const int n = std::min(chunk, tokens - first);
      logits = Forward(seq, std::span(prompt).subspan(static_cast<size_t>(first), static_cast<size_t>(n)), true);
    }
    Prefilled out;
    out.length = tokens;
    out.next = Best(logits);
    TakeCache(seq, &out);
    for (TokenId token = out.next; static_cast<int>(out.tokens.size()) < steps;) {
      out.logits.push_back(Forward(seq, {&token, 1}, false));
      out.tokens.push_back(token = Best(out.logits.back()));
    }
    store_->Close(seq);
    return out;
  }

  // The most blocks that a lane may select.
  int Width() {
    const auto step = Make(1, 0, StepSchedule::kInLine);
    return step->attention().width();
  }

  std::unique_ptr<DecodeStep> Make(int seats, int slots, StepSchedule schedule) {
    model::DecodeStepOptions options;
    options.attention.selector = where_.selector;
    options.attention.schedule = schedule;
    options.seats = seats;
    options.slots = slots;
    options.max_tokens = max_tokens_;
    auto step = DecodeStep::Create(model_, options, backend_.get());
    EXPECT_TRUE(step.ok()) << step.status().ToString();
    return std::move(step).value();
  }

  // Homes are given block by block, as sequences grow. `counters`, when not null: of all steps.
  std::vector<Decoded> Decode(DecodeStep& step, const std::vector<Sitting>& sittings, int steps,
                              ops::SlotCounters* counters = nullptr) {
    std::vector<Decoded> out(sittings.size());
    std::vector<Buffer> homes(sittings.size());
    std::vector<int> known(sittings.size(), 0);  // blocks with a home
    const int b = frame_.block_size, blocks = step.store().max_blocks();
    for (int at = 0; at < steps; ++at) {
      bool changed = false;
      for (size_t i = 0; i < sittings.size(); ++i) {
        const Sitting& who = sittings[i];
        if (at != who.leave) continue;
        step.store().Leave(who.seat);
        changed = true;
      }
      for (size_t i = 0; i < sittings.size(); ++i) {
        const Sitting& who = sittings[i];
        if (at < who.join || at >= who.leave) continue;
        const int pos = who.sequence->length + at - who.join;
        if (at == who.join) {
          homes[i] = Homes(*who.sequence, blocks);
          step.store().Seat(who.seat, pos);
          const MutableBytes summaries = step.attention().summaries(who.seat);
          EXPECT_LE(summaries.size(), who.sequence->summaries.size());  // buffers may be padded
          backend_->Copy(summaries.data(), who.sequence->summaries.data(), summaries.size(), {});
          step.tokens()[static_cast<size_t>(who.seat)] = who.sequence->next;
          changed = true;
        }
        for (; known[i] <= pos / b; ++known[i]) {
          changed = true;
          for (int lane = 0; lane < lanes(); ++lane) {
            step.store().SetHome(who.seat, lane, BlockId(known[i]),
                                 homes[i].data() + static_cast<size_t>(lane * blocks + known[i]) * frame_.bytes);
          }
        }
      }
      if (changed) step.store().Flush();
      EXPECT_TRUE(step.Run().ok());
      const ConstTensorView logits = step.ReadLogits();
      for (size_t i = 0; i < sittings.size(); ++i) {
        const Sitting& who = sittings[i];
        if (at < who.join || at >= who.leave) continue;
        const float* row = logits.row<float>(who.seat);
        out[i].logits.emplace_back(row, row + logits.RowElements());
        out[i].tokens.push_back(step.tokens()[static_cast<size_t>(who.seat)]);
      }
    }
    step.Wait();
    for (size_t i = 0; i < sittings.size(); ++i) {
      out[i].homes.assign(homes[i].data(), homes[i].data() + homes[i].size());
    }
    if (counters != nullptr) *counters = step.attention().ReadCounters();
    return out;
  }

  int lanes() const { return store_->layout().lanes(); }

 private:
  std::vector<float> Forward(SeqId seq, std::span<const TokenId> tokens, bool prefill) {
    const int64_t vocab = model_->config().vocab_size;
    ops::Grow(*backend_, static_cast<size_t>(vocab) * sizeof(float), backend_->shared_memory(), &logits_);
    const model::PassRows rows[] = {{seq, tokens}};
    const Status status = runner_->Forward(rows, prefill, logits_.View(DType::kF32, {1, vocab}));
    EXPECT_TRUE(status.ok()) << status.ToString();
    return {logits_.as<float>(), logits_.as<float>() + vocab};
  }
  static TokenId Best(const std::vector<float>& logits) {
    return static_cast<TokenId>(std::max_element(logits.begin(), logits.end()) - logits.begin());
  }

  void TakeCache(SeqId seq, Prefilled* out) {
    const kv::BlockLayout& layout = store_->layout();
    const int sealed = store_->sealed_blocks(seq), blocks = layout.Blocks(out->length);
    out->blocks.resize(static_cast<size_t>(lanes() * blocks) * frame_.bytes);
    const auto put = [&](int lane, int block, const std::byte* from) {
      std::memcpy(out->blocks.data() + static_cast<size_t>(lane * blocks + block) * frame_.bytes, from,
                  layout.BlockBytes());
    };
    std::vector<kv::BlockWant> wants;
    for (int lane = 0; lane < lanes(); ++lane) {
      for (int block = 0; block < sealed; ++block) wants.push_back({lane, store_->page(seq, BlockId(block)), 0});
      for (int block = sealed; block < blocks; ++block) put(lane, block, store_->OpenBlock(seq, lane, BlockId(block)));
    }
    kv::BlockFetch fetch(*store_, kv::BlockFetch::Order::kAny);
    fetch.Start(wants);
    for (;;) {
      const auto ready = fetch.Next();
      ASSERT_TRUE(ready.ok()) << ready.status().ToString();
      if (ready->empty()) break;
      const std::vector<int32_t> there(ready->begin(), ready->end());
      for (const int32_t i : there) put(wants[static_cast<size_t>(i)].lane, i % sealed, fetch.Block(i));
      fetch.Release(there);
    }
    const MutableBytes side = store_->side(seq);
    out->summaries = backend_->Allocate(side.size(), backend_->compute_memory()).value();
    backend_->Copy(out->summaries.data(), side.data(), side.size(), {});
    backend_->Synchronize({});
  }

  // [lanes, blocks, frame bytes]; blocks to come are NaN.
  Buffer Homes(const Prefilled& sequence, int blocks) {
    Buffer homes =
        backend_->Allocate(static_cast<size_t>(lanes() * blocks) * frame_.bytes, backend_->shared_memory()).value();
    std::memset(homes.data(), 0xff, homes.size());
    const size_t has = static_cast<size_t>(store_->layout().Blocks(sequence.length)) * frame_.bytes;
    for (int lane = 0; lane < lanes(); ++lane) {
      std::memcpy(homes.data() + static_cast<size_t>(lane * blocks) * frame_.bytes,
                  sequence.blocks.data() + static_cast<size_t>(lane) * has, has);
    }
    return homes;
  }

  Where where_;
  int max_tokens_;
  std::shared_ptr<ops::Backend> backend_;
  std::shared_ptr<const model::Model> model_;
  std::unique_ptr<kv::KvStore> store_;
  std::unique_ptr<model::Runner> runner_;
  ops::BlockFrame frame_;
  Buffer logits_;
};

double Difference(const std::vector<float>& a, const std::vector<float>& b) {
  double worst = 0;
  for (size_t i = 0; i < a.size(); ++i) {
    const double difference = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    worst = std::max(worst, std::isnan(difference) ? INFINITY : difference);
  }
  return worst;
}

// What must hold is 2e-3. On the CPU f32 gives 1e-5, and what is between the two would be a mistake.
void CompareWithEngine(const Decoded& decoded, const Prefilled& engine, const Where& where) {
  double worst = 0, margin = INFINITY;
  ASSERT_LE(decoded.logits.size(), engine.logits.size());
  for (size_t at = 0; at < decoded.logits.size(); ++at) {
    worst = std::max(worst, Difference(decoded.logits[at], engine.logits[at]));
    std::vector<float> sorted = engine.logits[at];
    std::nth_element(sorted.begin(), sorted.begin() + 1, sorted.end(), std::greater<>());
    margin = std::min(margin, static_cast<double>(sorted[0]) - static_cast<double>(sorted[1]));
    ASSERT_EQ(decoded.tokens[at], engine.tokens[at])
        << "step " << at << ", logits within " << worst << ", greedy margin " << margin;
  }
  std::printf("%s from %d tokens: logits within %.1e, greedy margin %.1e\n", testing::PrintToString(where).c_str(),
              engine.length, worst, margin);
  EXPECT_LT(worst, where.backend == "cpu" ? 1e-4 : 2e-3);
}

class StepTest : public testing::TestWithParam<Where> {
 protected:
  bool small() const { return GetParam().model != "nosa-21m"; }
};

// The engine's tokens; and the same bits with the fewest slots, with more, with none, fetched beside the attention or
// before it.
TEST_P(StepTest, DecodesAsTheEngineDoes) {
  if (const std::string why = WhyNot(GetParam().backend); !why.empty()) GTEST_SKIP() << why;
  const int steps = 70, prompt = small() ? 701 : 2500;
  StepRig rig(GetParam(), prompt + 100);
  const Prefilled sequence = rig.Prefill(prompt, steps, 1);
  const int width = rig.Width();
  Decoded first;
  for (const int slots : {width - 1, (3 * width + 1) / 2, 0}) {
    for (const StepSchedule schedule : {StepSchedule::kOverlap, StepSchedule::kInLine}) {
      if (slots == 0 && schedule == StepSchedule::kInLine) continue;  // nothing is fetched
      SCOPED_TRACE(fmt::format("{} slots, {}", slots, schedule == StepSchedule::kOverlap ? "overlap" : "in line"));
      const auto step = rig.Make(1, slots, schedule);
      ops::SlotCounters counters;
      const Decoded decoded = rig.Decode(*step, {{&sequence, 0, 0, steps}}, steps, &counters)[0];
      ASSERT_EQ(decoded.tokens.size(), static_cast<size_t>(steps));
      if (first.tokens.empty()) {
        first = decoded;
        if (GetParam().dtype == DType::kF32) {
          CompareWithEngine(decoded, sequence, GetParam());
        }
      }
      EXPECT_EQ(first.tokens, decoded.tokens);
      EXPECT_TRUE(SameBits(first.logits, decoded.logits));
      EXPECT_TRUE(first.homes == decoded.homes);
      if (slots > 0) {
        const auto lists = static_cast<unsigned long long>(rig.lanes() * steps);
        EXPECT_EQ(counters.selected_all, counters.selected + lists) << "every lane reads its tail";
        EXPECT_LE(counters.selected_all, lists * static_cast<unsigned long long>(width));
        EXPECT_GE(counters.missing, static_cast<unsigned long long>(rig.lanes() * (std::min(width, 8) - 1)))
            << "nothing was there at first";
        EXPECT_LT(counters.missing, counters.selected);
        EXPECT_LE(counters.repeated, counters.selected_all);
      } else {
        EXPECT_EQ(counters.missing, 0u);
      }
    }
  }
  // That the blocks matter: without the transfers all of it would fail.
  const auto blind = rig.Make(1, width - 1, StepSchedule::kNever);
  const Decoded wrong = rig.Decode(*blind, {{&sequence, 0, 0, 1}}, 1)[0];
  EXPECT_GT(Difference(wrong.logits[0], first.logits[0]), 2e-2);
}

// Five sequences in three seats: some from the start, one late, one in the seat of another that has left. Each has the
// bits that it has alone, and the engine's tokens.
TEST_P(StepTest, NeighboursChangeNothing) {
  if (const std::string why = WhyNot(GetParam().backend); !why.empty()) GTEST_SKIP() << why;
  const int steps = small() ? 70 : 30, longest = small() ? 701 : 1200;
  StepRig rig(GetParam(), longest + 100);
  std::vector<Prefilled> sequences;
  // One that has not filled a block, one that ends on a block's border.
  for (const int tokens : {longest, 5, small() ? 384 : 640, 47, longest / 2 + 1})
    sequences.push_back(rig.Prefill(tokens, steps, sequences.size() + 1));
  const int width = rig.Width();
  const std::vector<Sitting> sittings = {{&sequences[0], 1, 0, steps},
                                         {&sequences[1], 0, 0, steps / 2},
                                         {&sequences[2], 2, steps / 4, steps},
                                         {&sequences[3], 2, 0, steps / 4 - 2},
                                         {&sequences[4], 0, steps / 2, steps}};
  std::vector<Decoded> alone;
  for (const Sitting& who : sittings) {
    const int own = who.leave - who.join;
    // As many seats: their number is part of the bits, who sits in the others is not.
    const auto step = rig.Make(3, width - 1, StepSchedule::kOverlap);
    alone.push_back(rig.Decode(*step, {{who.sequence, who.seat, 0, own}}, own)[0]);
  }
  for (const int slots : {width - 1, 0}) {
    const auto step = rig.Make(3, slots, StepSchedule::kOverlap);
    const std::vector<Decoded> together = rig.Decode(*step, sittings, steps);
    for (size_t i = 0; i < sittings.size(); ++i) {
      SCOPED_TRACE(fmt::format("sequence {} of {} tokens, {} slots", i, sittings[i].sequence->length, slots));
      ASSERT_EQ(together[i].tokens, alone[i].tokens);
      ASSERT_TRUE(SameBits(together[i].logits, alone[i].logits));
      ASSERT_TRUE(together[i].homes == alone[i].homes);
      if (GetParam().dtype == DType::kF32 && slots > 0) {
        CompareWithEngine(together[i], *sittings[i].sequence, GetParam());
      }
    }
  }
}

// On a device inputs of bf16 products are rounded by whoever writes them, on the CPU by the products: the bits are the
// same.
TEST(StepInputs, RoundingWhereItIsWrittenChangesNothing) {
  const int steps = 20, prompt = 301;
  for (const std::string model : {"OneKvHead", "OddSizes"}) {
    SCOPED_TRACE(model);
    std::vector<Decoded> decoded;
    for (const std::string backend : {"cpu", "deferred"}) {
      StepRig rig({model, "nosa", backend, DType::kBF16}, prompt + 100);
      const Prefilled sequence = rig.Prefill(prompt, 1, 1);
      const auto step = rig.Make(2, 0, StepSchedule::kInLine);
      decoded.push_back(rig.Decode(*step, {{&sequence, 1, 0, steps}}, steps)[0]);
    }
    EXPECT_EQ(decoded[0].tokens, decoded[1].tokens);
    EXPECT_TRUE(SameBits(decoded[0].logits, decoded[1].logits));
    EXPECT_TRUE(decoded[0].homes == decoded[1].homes);
  }
}

std::vector<Where> Everywhere() {
  std::vector<Where> all;
  for (const std::string backend : {"cpu", "cuda"}) {
    all.push_back({"nosa-21m", "nosa", backend});
    all.push_back({"nosa-21m", "nosa", backend, DType::kBF16});
    for (const std::string model : {"OneKvHead", "OddSizes"}) {
      all.push_back({model, "nosa", backend});
      all.push_back({model, "nosa", backend, DType::kBF16});
    }
    for (const std::string selector : {"infllm2", "dma", "full", "window"})
      all.push_back({"OneKvHead", selector, backend});
  }
  return all;
}

INSTANTIATE_TEST_SUITE_P(Models, StepTest, testing::ValuesIn(Everywhere()), [](const auto& info) {
  std::string name = testing::PrintToString(info.param);
  std::erase(name, '-');
  return name;
});

}  // namespace
}  // namespace nosa::engine
