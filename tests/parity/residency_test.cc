// Residency never changes an answer: the same tokens and the same logits, bit for bit, wherever the blocks live.
#include <filesystem>

#include "io/safetensors.h"
#include "kv/tier.h"
#include "tests/conformance/kv/faulty_tier.h"
#include "tests/parity/engine_test_util.h"

namespace nosa::engine {
namespace {

constexpr int kAnswer = 40;  // with a prompt of 2382 tokens, the tail block rolls over within the answer

std::vector<TokenId> LongPrompt() {
  const auto goldens = *io::Safetensors::OpenFile(DemoModel() + "/goldens.safetensors");
  const ConstTensorView view = *goldens->Get("2500.prompt");
  return {view.row<TokenId>(0), view.row<TokenId>(0) + view.shape().elements()};
}

Request LongRequest() { return {.prompt = LongPrompt(), .max_tokens = kAnswer, .ignore_eos = true}; }

std::unique_ptr<kv::Tier> Cold(const std::string& name, io::AsyncBackend io = io::AsyncBackend::kAuto,
                               bool direct = true) {
  kv::TierOptions options = {.location = testing::TempDir(), .capacity_bytes = 256 * kMiB, .direct_io = direct};
  options.io.backend = io;
  auto tier = kv::MakeTier(name, options);
  EXPECT_TRUE(tier.ok()) << tier.status().ToString();
  return std::move(tier).value();
}

// The smallest budget the long request is admitted under with this tier below (frames are as large as the tier's
// alignment makes them).
uint64_t SmallestBudget(std::unique_ptr<kv::Tier> cold = Cold("memory"), const std::string& backend = "cpu") {
  RigOptions options;
  options.backend = backend;
  options.engine.cold = std::move(cold);
  const Rig rig = MakeRig(std::move(options));
  const kv::SequenceNeeds needs = rig.model->SequenceNeeds(static_cast<int>(LongPrompt().size()) + kAnswer);
  return rig.engine->store().SmallestBudget({&needs, 1});
}

struct ResidencyCase {
  std::string name;
  std::string tier;
  double budget_factor;  // times the smallest budget
  io::AsyncBackend io = io::AsyncBackend::kAuto;
  bool direct = true;
  std::string policy = "importance-lru";
  std::string backend = "cpu";
};

std::ostream& operator<<(std::ostream& out, const ResidencyCase& c) { return out << c.name; }

class ResidencyTest : public testing::TestWithParam<ResidencyCase> {};

TEST_P(ResidencyTest, SameTokensAndFingerprintAsInRam) {
  const ResidencyCase& c = GetParam();
  if (const std::string why = WhyNot(c.backend); !why.empty()) GTEST_SKIP() << why;
  const uint64_t smallest = SmallestBudget(Cold(c.tier, c.io, c.direct), c.backend);
  for (const int threads : c.backend == "cpu" ? std::vector<int>{1, 2} : std::vector<int>{1}) {
    RigOptions resident;
    resident.backend = c.backend;
    resident.threads = threads;
    const Rig in_ram = MakeRig(std::move(resident));
    const Outcome expected = RunRequest(*in_ram.engine, LongRequest());
    EXPECT_EQ(in_ram.engine->stats().kv.blocks_fetched, 0u);

    RigOptions options;
    options.backend = c.backend;
    options.threads = threads;
    options.engine.host_budget_bytes = static_cast<uint64_t>(static_cast<double>(smallest) * c.budget_factor);
    options.engine.kv_policy = c.policy;
    options.engine.cold = Cold(c.tier, c.io, c.direct);
    const Rig rig = MakeRig(std::move(options));
    const Outcome outcome = RunRequest(*rig.engine, LongRequest());
    const EngineStats stats = rig.engine->stats();

    EXPECT_EQ(outcome.result.ids, expected.result.ids);
    EXPECT_EQ(outcome.result.fingerprint, expected.result.fingerprint);
    EXPECT_GT(stats.kv.blocks_fetched, 0u);
    EXPECT_LE(stats.kv.host_peak_bytes, static_cast<uint64_t>(static_cast<double>(smallest) * c.budget_factor));
    EXPECT_EQ(stats.kv.damaged_blocks, 0u);
    EXPECT_EQ(rig.engine->store().stats().cold_bytes, 0u) << "a closed sequence gives its disk space back";
  }
}

INSTANTIATE_TEST_SUITE_P(
    Tiers, ResidencyTest,
    testing::Values(
        ResidencyCase{"smallest_disk_uring", "disk", 1.0, io::AsyncBackend::kAuto},
        ResidencyCase{"smallest_disk_threads", "disk", 1.0, io::AsyncBackend::kThreads},
        ResidencyCase{"slack_disk_buffered", "disk", 2.0, io::AsyncBackend::kAuto, false},
        ResidencyCase{"slack_memory_lru", "memory", 2.0, io::AsyncBackend::kAuto, true, "lru"},
        ResidencyCase{"cuda_smallest_disk", "disk", 1.0, io::AsyncBackend::kAuto, true, "importance-lru", "cuda"},
        ResidencyCase{"cuda_slack_memory_lru", "memory", 2.0, io::AsyncBackend::kAuto, true, "lru", "cuda"}),
    [](const auto& info) { return info.param.name; });

TEST(Budget, OneByteBelowTheSmallestIsRefusedWithTheSmallest) {
  const uint64_t smallest = SmallestBudget();
  RigOptions options;
  options.engine.host_budget_bytes = smallest - 1;
  options.engine.cold = Cold("memory");
  const Rig rig = MakeRig(std::move(options));
  const auto id = rig.engine->Submit(LongRequest());
  ASSERT_FALSE(id.ok());
  EXPECT_EQ(id.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(id.status().message()), testing::HasSubstr(FormatByteSize(smallest)));
}

TEST(Budget, WithoutAColdTierTheSufficientBudgetFetchesNothing) {
  RigOptions probe;
  const Rig first = MakeRig(std::move(probe));
  const kv::SequenceNeeds needs = first.model->SequenceNeeds(static_cast<int>(LongPrompt().size()) + kAnswer);
  RigOptions options;
  options.engine.host_budget_bytes = first.engine->store().SufficientBudget({&needs, 1});
  const Rig rig = MakeRig(std::move(options));
  EXPECT_EQ(RunRequest(*rig.engine, LongRequest()).result.ids.size(), static_cast<size_t>(kAnswer));
  EXPECT_EQ(rig.engine->stats().kv.blocks_fetched, 0u);
}

// A cold tier that damages what passes through: every block is checked, made again, counted, and the answer is the
// same.
TEST(Damage, RecomputedCountedAndTheSameAnswer) {
  RigOptions resident;
  const Rig in_ram = MakeRig(std::move(resident));
  const Outcome expected = RunRequest(*in_ram.engine, LongRequest());
  uint64_t silent = 0, recomputed = 0;  // faults are rare, so that one seed may have none that is met
  for (uint64_t seed = 1; seed <= 4; ++seed) {
    RigOptions options;
    options.engine.host_budget_bytes = 2 * SmallestBudget();
    auto faulty = std::make_unique<kv::FaultyTier>(
        Cold("memory"), seed, kv::FaultPlan{.corrupt_read = 0.0001, .corrupt_write = 0.002, .delay = 0.2});
    const kv::FaultyTier* tier = faulty.get();
    options.engine.cold = std::move(faulty);
    const Rig rig = MakeRig(std::move(options));
    const Outcome outcome = RunRequest(*rig.engine, LongRequest());
    ASSERT_TRUE(outcome.result.error.ok()) << outcome.result.error.ToString();
    EXPECT_EQ(outcome.result.ids, expected.result.ids);
    EXPECT_EQ(outcome.result.fingerprint, expected.result.fingerprint);
    silent += tier->counts().silent();
    recomputed += rig.engine->stats().recomputed_blocks;
  }
  EXPECT_GT(silent, 0u);
  EXPECT_GT(recomputed, 0u);
}

TEST(Damage, AFailingTierEndsTheRequestWithItsError) {
  for (const kv::FaultPlan& plan : {kv::FaultPlan{.fail_read = 0.01}, kv::FaultPlan{.full_write = 0.5}}) {
    RigOptions options;
    options.engine.host_budget_bytes = SmallestBudget();
    options.engine.cold = std::make_unique<kv::FaultyTier>(Cold("memory"), 3, plan);
    const Rig rig = MakeRig(std::move(options));
    const Outcome outcome = RunRequest(*rig.engine, LongRequest());
    EXPECT_EQ(outcome.result.reason, FinishReason::kError);
    EXPECT_THAT(std::string(outcome.result.error.message()), testing::HasSubstr("injected"));
    EXPECT_EQ(rig.engine->store().stats().cold_bytes, 0u);
  }
}

// One page finds no room on the disk: its request ends, those that answer beside it do not notice.
TEST(Damage, AFailedWriteEndsItsRequestAlone) {
  Request request = {.prompt = LongPrompt(), .max_tokens = 90, .ignore_eos = true};
  request.prompt.resize(200);
  const Rig in_ram = MakeRig({});
  const Outcome expected = RunRequest(*in_ram.engine, request);

  RigOptions options;
  auto faulty = std::make_unique<kv::FaultyTier>(Cold("memory"), 3, kv::FaultPlan{});
  kv::FaultyTier* tier = faulty.get();
  options.engine.cold = std::move(faulty);
  const Rig rig = MakeRig(std::move(options));
  std::vector<RequestId> ids;
  for (int i = 0; i < 3; ++i) {
    Request each = request;
    if (i == 1) each.prompt.resize(210, 7);  // its blocks fill before the others'
    ids.push_back(*rig.engine->Submit(each));
  }
  std::vector<Event> events;
  while (rig.engine->HasWork()) {
    // The first block that is filled by answering is the second request's.
    const uint64_t writes = tier->counts().writes;
    tier->plan().full_write = writes == 9 ? 1 : 0;
    ASSERT_TRUE(rig.engine->Step(&events).ok());
  }
  ASSERT_EQ(tier->counts().full_writes, 1u);
  EXPECT_EQ(rig.engine->result(ids[1]).reason, FinishReason::kError);
  EXPECT_EQ(rig.engine->result(ids[1]).error.code(), StatusCode::kResourceExhausted);
  for (const int other : {0, 2}) {
    const RequestResult& result = rig.engine->result(ids[static_cast<size_t>(other)]);
    EXPECT_EQ(result.reason, FinishReason::kLength) << result.error.ToString();
    EXPECT_EQ(result.ids, expected.result.ids);
  }
  EXPECT_EQ(rig.engine->store().stats().cold_bytes, 0u);
}

}  // namespace
}  // namespace nosa::engine
