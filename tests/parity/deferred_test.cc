// The engine on a backend that computes late and in memory of its own gives the CPU's bits: it waits wherever it reads
// results or reuses memory, and never looks into the device's. (The ops are the CPU's; tests/deferred_backend.h.)
#include "kv/tier.h"
#include "tests/conformance/kv/faulty_tier.h"
#include "tests/parity/engine_test_util.h"

namespace nosa::engine {
namespace {

std::unique_ptr<kv::Tier> Cold(const std::string& name) {
  return kv::MakeTier(name, {.location = testing::TempDir(), .capacity_bytes = 256 * kMiB}).value();
}

struct Setting {
  std::string attention = "nosa";
  DType dtype = DType::kBF16;
  bool dense_prefill = false;
  std::string tier = "";  // empty: all in RAM
  double slack = 1;       // times the smallest budget
  bool faulty = false;
  int chunk = 512;  // with more rows at once than parts are kept for, a device reads masks
};

std::string Name(const Setting& s) {
  return fmt::format("{} {} {} {} {} {} {}", s.attention, DTypeName(s.dtype), s.dense_prefill ? "dense" : "sparse",
                     s.tier.empty() ? "RAM" : s.tier, s.slack, s.faulty ? "faulty" : "", s.chunk);
}

constexpr int kTokens = 2200;

Rig Make(const std::string& backend, const Setting& setting, uint64_t budget = kv::kNoLimit) {
  RigOptions options;
  options.backend = backend;
  options.load.dtype = setting.dtype;
  options.engine.attention = {.selector = setting.attention, .dense_prefill = setting.dense_prefill};
  options.engine.host_budget_bytes = budget;
  options.engine.prefill_chunk = setting.chunk;
  if (!setting.tier.empty()) options.engine.cold = Cold(setting.tier);
  if (setting.faulty) {
    options.engine.cold = std::make_unique<kv::FaultyTier>(
        std::move(options.engine.cold), 4, kv::FaultPlan{.corrupt_read = 0.0002, .corrupt_write = 0.002, .delay = 0.2});
  }
  return MakeRig(std::move(options));
}

uint64_t Budget(const std::string& backend, const Setting& setting) {
  if (setting.tier.empty()) return kv::kNoLimit;
  const Rig probe = Make(backend, setting);
  const kv::SequenceNeeds needs = probe.model->SequenceNeeds(kTokens);
  return static_cast<uint64_t>(static_cast<double>(probe.engine->store().SmallestBudget({&needs, 1})) * setting.slack);
}

// A prompt in pieces, greedy and drawn tokens, a cut inside a sealed block, and a second answer.
std::vector<uint64_t> Fingerprints(Engine& engine) {
  std::vector<uint64_t> prints;
  const auto take = [&](RequestId id) {
    RunAll(engine);
    EXPECT_TRUE(engine.result(id).error.ok()) << engine.result(id).error.ToString();
    prints.push_back(engine.result(id).fingerprint);
  };
  const RequestId id = engine
                           .Submit({.prompt = RandomPrompt(1500, 31),
                                    .max_tokens = 40,
                                    .ignore_eos = true,
                                    .keep_open = true,
                                    .reserve_tokens = kTokens})
                           .value();
  take(id);
  Request drawn = {.max_tokens = 12, .ignore_eos = true, .keep_open = true};
  drawn.sampling = {.temperature = 0.8f, .top_p = 0.9f, .seed = 3};
  for (const int keep : {1530, 1024}) {
    const Status status = engine.Continue(id, keep, RandomPrompt(100, 32), drawn);
    EXPECT_TRUE(status.ok()) << status.ToString();
    take(id);
  }
  engine.Release(id);
  return prints;
}

TEST(Deferred, SameBitsAsTheCpu) {
  const std::vector<Setting> settings = {
      {},
      {.dtype = DType::kF32, .tier = "disk"},
      {.tier = "disk"},
      {.attention = "full", .tier = "disk", .slack = 1.5},
      {.dense_prefill = true, .tier = "memory", .slack = 1.3},
      {.attention = "dma"},
      {.chunk = 1536},
      {.dense_prefill = true, .chunk = 1536},
      {.attention = "full", .dtype = DType::kF32, .chunk = 1024},
      {.tier = "memory", .slack = 1.3, .chunk = 1536},
      {.tier = "memory", .slack = 1.2, .faulty = true},
  };
  for (const Setting& setting : settings) {
    SCOPED_TRACE(Name(setting));
    const Rig cpu = Make("cpu", setting, Budget("cpu", setting));
    const Rig device = Make("deferred", setting, Budget("deferred", setting));
    EXPECT_EQ(Fingerprints(*device.engine), Fingerprints(*cpu.engine));
    EXPECT_EQ(device.engine->stats().kv.blocks_fetched > 0, !setting.tier.empty());
    EXPECT_EQ(device.engine->stats().recomputed_blocks > 0, setting.faulty);
  }
}

// Sequences that come and go share every buffer of the engine.
class DeferredCompany : public testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Tiers, DeferredCompany, testing::Bool());
TEST_P(DeferredCompany, AndTracesAsOnTheCpu) {
  std::vector<std::vector<uint64_t>> prints;
  std::vector<std::vector<std::vector<float>>> logits;
  for (const std::string backend : {"cpu", "deferred"}) {
    const Setting setting = GetParam() ? Setting{.tier = "memory", .slack = 3} : Setting{.chunk = 1024};
    const Rig rig = Make(backend, setting, Budget(backend, setting));
    std::vector<RequestId> ids;
    std::vector<Event> events;
    Outcome outcome;
    for (int i = 0; i < 5; ++i) {
      ids.push_back(rig.engine
                        ->Submit({.prompt = RandomPrompt(150 + 97 * i, static_cast<uint64_t>(40 + i)),
                                  .max_tokens = 20 + 9 * i,
                                  .ignore_eos = true,
                                  .prompt_logits = i == 1 ? 20 : 0,
                                  .record_selection = true})
                        .value());
      events.clear();
      ASSERT_TRUE(rig.engine->Step(&events).ok());
      Collect(events, &outcome);
    }
    RunAll(*rig.engine, &outcome);
    auto& mine = prints.emplace_back();
    for (const RequestId id : ids) {
      mine.push_back(rig.engine->result(id).fingerprint);
      rig.engine->Release(id);
    }
    EXPECT_EQ(outcome.logits.size(), 20u);
    logits.push_back(outcome.logits);
  }
  EXPECT_EQ(prints[0], prints[1]);
  EXPECT_EQ(logits[0], logits[1]);
}

}  // namespace
}  // namespace nosa::engine
