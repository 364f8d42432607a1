// Requests that take over what others have read: the same answers as on an engine that keeps nothing, to the bit, in
// any company, under any budget, over tiers that damage and fail; what is kept is never in anybody's way.
#include <algorithm>
#include <map>
#include <set>

#include "kv/tier.h"
#include "tests/conformance/kv/faulty_tier.h"
#include "tests/parity/engine_test_util.h"
#include "tests/parity/small_models.h"

namespace nosa::engine {
namespace {

using Tokens = std::vector<TokenId>;

// Of the small model, whose blocks have 16 tokens.
constexpr int kChunk = 32, kMaxTokens = 400;

struct PrefixCase {
  std::string name;
  std::string backend = "cpu";
  std::string tier = "";  // empty: none
  double room = 0;        // times the smallest budget of three sequences; 0: no bound
  kv::FaultPlan plan = {};
  int seats = 0;
  std::string selector = "nosa";
};

std::ostream& operator<<(std::ostream& out, const PrefixCase& c) { return out << c.name; }

RigOptions OptionsOf(const PrefixCase& c, bool prefix_cache) {
  RigOptions options;
  options.model = SmallCheckpoint("prefix_one_kv_head", OneKvHead(false), 5);
  options.backend = c.backend;
  options.threads = 1;  // what there is to compute is little
  options.engine.attention.selector = c.selector;
  options.engine.prefill_chunk = kChunk;
  options.engine.prefix_cache = prefix_cache;
  if (c.seats > 0) {
    options.engine.decode.plan = DecodePlan::kStep;
    options.engine.decode.seats = c.seats;
    options.engine.decode.max_tokens = kMaxTokens;
  }
  return options;
}

std::unique_ptr<kv::Tier> MemoryOrDisk(const std::string& name) {
  return std::move(kv::MakeTier(name, {.location = testing::TempDir(), .capacity_bytes = 64 * kMiB})).value();
}

Tokens Joined(Tokens first, const Tokens& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

Tokens SmallPrompt(int tokens, uint64_t stream) {
  Tokens ids = RandomPrompt(tokens, stream);
  for (TokenId& id : ids) id %= 257;
  return ids;
}

// Runs one request alone, with what the engine of `c` answers when it keeps nothing.
class Fresh {
 public:
  explicit Fresh(const PrefixCase& c) : rig_(MakeRig(OptionsOf(c, false))) {}

  const Outcome& Of(const Request& request) {
    const auto key = std::make_tuple(request.prompt, request.max_tokens, request.prompt_logits,
                                     request.sampling.temperature, request.sampling.seed);
    const auto found = outcomes_.find(key);
    if (found != outcomes_.end()) return found->second;
    return outcomes_[key] = RunRequest(*rig_.engine, request);
  }

 private:
  Rig rig_;
  std::map<std::tuple<Tokens, int, int, float, uint64_t>, Outcome> outcomes_;
};

// A random life of an engine that keeps prefixes.
class Life {
 public:
  Life(const PrefixCase& c, uint64_t seed, Fresh* fresh) : case_(c), rng_(seed, 9), fresh_(fresh) {
    RigOptions options = OptionsOf(c, true);
    if (c.room > 0) {
      RigOptions probe = OptionsOf(c, false);
      if (!c.tier.empty()) probe.engine.cold = MemoryOrDisk(c.tier);
      const Rig rig = MakeRig(std::move(probe));
      const std::vector<kv::SequenceNeeds> needs(3, rig.model->SequenceNeeds(kMaxTokens));
      options.engine.host_budget_bytes =
          static_cast<uint64_t>(c.room * static_cast<double>(rig.engine->store().SmallestBudget(needs)));
    }
    if (!c.tier.empty()) {
      auto tier = std::make_unique<kv::FaultyTier>(MemoryOrDisk(c.tier), seed, c.plan);
      tier_ = tier.get();
      options.engine.cold = std::move(tier);
    }
    rig_ = MakeRig(std::move(options));
    base_ = engine().store().host_used_bytes();
    for (uint64_t i = 0; i < 6; ++i) parts_.push_back(SmallPrompt(static_cast<int>(1 + Draw(100)), 10 * seed + i));
  }

  void Run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFailure(); ++i) {
      if (Draw(3) == 0 && open_.size() < 5) Submit();
      if (Draw(40) == 0 && !open_.empty()) CancelOne();
      if (Draw(60) == 0) engine().store().DropPrefixes();
      Step();
    }
    while (!open_.empty() && !testing::Test::HasFailure()) Step();
    if (testing::Test::HasFailure()) return;
    const kv::PrefixStats& stats = engine().stats().kv.prefix;
    EXPECT_EQ(engine().store().host_used_bytes() > base_, stats.chunks > 0);
    engine().store().DropPrefixes();
    EXPECT_EQ(engine().store().host_used_bytes(), base_) << "everything is given back";
    EXPECT_EQ(engine().store().stats().cold_bytes, 0u);
    EXPECT_EQ(engine().stats().kv.prefix.retained_bytes + engine().stats().kv.prefix.summary_bytes, 0u);
  }

  EngineStats stats() const { return rig_.engine->stats(); }
  int answered() const { return answered_; }
  int failed() const { return failed_; }
  int refused() const { return refused_; }

 private:
  struct Open {
    Request request;
    kv::SequenceNeeds needs;
    std::vector<std::vector<float>> logits;
    bool cancelled = false;
  };

  Engine& engine() { return *rig_.engine; }
  uint32_t Draw(uint32_t n) { return rng_.Block(counter_++)[0] % n; }

  // Ways through a tree of few parts: prompts that share long and short beginnings.
  Request Random() {
    Request request = {.max_tokens = static_cast<int>(Draw(20)), .ignore_eos = true};
    const size_t target = 1 + Draw(kMaxTokens - 30);
    while (request.prompt.size() < target) {
      const uint32_t last = request.prompt.empty() ? 0 : static_cast<uint32_t>(request.prompt.back()) % 3;
      request.prompt = Joined(request.prompt, parts_[last + Draw(3)]);
    }
    request.prompt.resize(target);
    if (Draw(3) == 0) request.prompt_logits = static_cast<int>(Draw(static_cast<uint32_t>(target) + 1));
    if (Draw(3) == 0) request.sampling = {.temperature = 0.8f, .seed = 1 + Draw(2)};
    request.tenant = Draw(4) == 0 ? "another" : "";
    request.reuse_prefix = Draw(8) != 0;
    return request;
  }

  void Submit() {
    Open open = {.request = Random(), .needs = {}, .logits = {}};
    const int tokens = static_cast<int>(open.request.prompt.size()) + open.request.max_tokens;
    open.needs = rig_.model->SequenceNeeds(tokens);
    std::vector<kv::SequenceNeeds> needs = {open.needs};
    for (const auto& [id, other] : open_) needs.push_back(other.needs);
    const Result<RequestId> id = engine().Submit(open.request);
    // What is kept is no reason to refuse.
    const bool fits = engine().store().SmallestBudget(needs) <= engine().store().host_budget_bytes();
    ASSERT_EQ(id.ok(), fits) << id.status().ToString();
    if (id.ok()) {
      open_.emplace(*id, std::move(open));
    } else {
      ++refused_;
    }
  }

  void CancelOne() {
    auto it = open_.begin();
    std::advance(it, Draw(static_cast<uint32_t>(open_.size())));
    engine().Cancel(it->first);
    it->second.cancelled = true;
  }

  void Step() {
    events_.clear();
    const Status status = engine().Step(&events_);
    ASSERT_TRUE(status.ok()) << status.ToString();
    ASSERT_LE(engine().store().host_used_bytes(), engine().store().host_budget_bytes());
    for (const Event& event : events_) {
      Open& open = open_.at(event.request);
      for (int64_t r = 0; event.kind == Event::Kind::kPromptLogits && r < event.logits.rows(); ++r)
        open.logits.emplace_back(event.logits.row<float>(r), event.logits.row<float>(r) + event.logits.RowElements());
      if (event.kind != Event::Kind::kFinished) continue;
      Check(open, engine().result(event.request));
      engine().Release(event.request);
      open_.erase(event.request);
    }
  }

  void Check(const Open& open, const RequestResult& result) {
    const Request& request = open.request;
    if (result.reason == FinishReason::kError) {
      ++failed_;
      ASSERT_GT(tier_ == nullptr ? 0 : tier_->counts().loud(), 0u) << result.error.ToString();
      return;
    }
    if (open.cancelled) return;
    ++answered_;
    const Outcome& fresh = fresh_->Of(request);
    ASSERT_EQ(result.ids, fresh.result.ids);
    ASSERT_EQ(result.fingerprint, fresh.result.fingerprint);
    ASSERT_TRUE(open.logits == fresh.logits);
    ASSERT_EQ(result.cached_tokens % kChunk, 0);
    ASSERT_EQ(result.cached_tokens + result.prefill_tokens, static_cast<int>(request.prompt.size()));
    if (!request.reuse_prefix) {
      ASSERT_EQ(result.cached_tokens, 0);
    }
  }

  PrefixCase case_;
  Philox rng_;
  uint64_t counter_ = 0;
  Fresh* fresh_;
  kv::FaultyTier* tier_ = nullptr;
  Rig rig_;
  uint64_t base_ = 0;
  std::vector<Tokens> parts_;
  std::map<RequestId, Open> open_;
  std::vector<Event> events_;
  int answered_ = 0, failed_ = 0, refused_ = 0;
};

class PrefixTest : public testing::TestWithParam<PrefixCase> {};

TEST_P(PrefixTest, AnswersAsWithoutACache) {
  const PrefixCase& c = GetParam();
  if (const std::string why = WhyNot(c.backend); !why.empty()) GTEST_SKIP() << why;
  Fresh fresh(c);
  int answered = 0, failed = 0, refused = 0;
  uint64_t reused = 0, evicted = 0, damaged = 0, fetched = 0, chunks_damaged = 0;
  const uint64_t lives = c.backend == "cpu" ? 6 : 2;
  for (uint64_t seed = 0; seed < lives; ++seed) {
    SCOPED_TRACE(testing::Message() << "seed " << seed);
    Life life(c, seed, &fresh);
    life.Run(150);
    if (HasFailure()) return;
    const kv::StoreStats stats = life.stats().kv;
    answered += life.answered();
    failed += life.failed();
    refused += life.refused();
    reused += stats.prefix.tokens_reused;
    evicted += stats.prefix.chunks_evicted;
    chunks_damaged += stats.prefix.chunks_damaged;
    damaged += stats.damaged_blocks;
    fetched += stats.blocks_fetched;
  }
  std::printf("%-22s %d answers, %d failed, %d refused, %llu tokens reused, %llu chunks evicted, %llu fetched\n",
              c.name.c_str(), answered, failed, refused, static_cast<unsigned long long>(reused),
              static_cast<unsigned long long>(evicted), static_cast<unsigned long long>(fetched));
  EXPECT_GT(answered, 0);
  EXPECT_GT(reused, 0u);
  EXPECT_EQ(evicted > 0, c.room > 0);
  EXPECT_EQ(fetched > 0, !c.tier.empty() && c.room > 0);
  EXPECT_EQ(damaged > 0, c.plan.corrupt_read + c.plan.corrupt_write > 0);
  EXPECT_EQ(chunks_damaged > 0, c.plan.corrupt_write + c.plan.fail_read + c.plan.full_write > 0);
  EXPECT_EQ(failed > 0, c.plan.fail_read + c.plan.full_write > 0);
}

constexpr kv::FaultPlan kDamage = {.corrupt_read = 0.0005, .corrupt_write = 0.02, .delay = 0.2};
constexpr kv::FaultPlan kErrors = {.fail_read = 0.0003, .full_write = 0.005, .delay = 0.2};

INSTANTIATE_TEST_SUITE_P(
    Lives, PrefixTest,
    testing::Values(PrefixCase{.name = "ram"}, PrefixCase{.name = "ram_full_attention", .selector = "full"},
                    PrefixCase{.name = "ram_bounded", .room = 1.1},
                    PrefixCase{.name = "memory", .tier = "memory", .room = 1.5},
                    PrefixCase{.name = "memory_roomy", .tier = "memory", .room = 4},
                    PrefixCase{.name = "disk", .tier = "disk", .room = 1.5},
                    PrefixCase{.name = "memory_damage", .tier = "memory", .room = 1.5, .plan = kDamage},
                    PrefixCase{.name = "memory_errors", .tier = "memory", .room = 1.5, .plan = kErrors},
                    PrefixCase{.name = "seats", .seats = 2},
                    PrefixCase{.name = "seats_bounded", .room = 1.1, .seats = 2},
                    PrefixCase{.name = "deferred_seats", .backend = "deferred", .room = 1.1, .seats = 2},
                    PrefixCase{.name = "deferred_memory", .backend = "deferred", .tier = "memory", .room = 1.5},
                    PrefixCase{.name = "cuda_seats", .backend = "cuda", .seats = 2},
                    PrefixCase{.name = "cuda_memory", .backend = "cuda", .tier = "memory", .room = 1.5}),
    [](const auto& info) { return info.param.name; });

// One after the other, on an engine that need not forget: each takes over exactly what was read before under its
// tenant.
TEST(Prefix, TakesOverWhatIsThere) {
  const Philox rng(3, 4);
  uint64_t counter = 0;
  const auto draw = [&](uint32_t n) { return rng.Block(counter++)[0] % n; };
  const Rig rig = MakeRig(OptionsOf({}, true));
  std::vector<Tokens> parts;
  for (uint64_t i = 0; i < 4; ++i) parts.push_back(SmallPrompt(40, i));
  std::map<std::string, std::set<Tokens>> kept;
  int lookups = 0, hits = 0;
  for (int round = 0; round < 80; ++round) {
    Request request = {.max_tokens = 1, .ignore_eos = true, .tenant = draw(3) == 0 ? "b" : "a"};
    for (uint32_t n = 1 + draw(5); n > 0; --n) request.prompt = Joined(request.prompt, parts[draw(4)]);
    request.prompt.resize(request.prompt.size() - draw(20));
    if (draw(4) == 0) request.prompt_logits = static_cast<int>(draw(70));
    const int size = static_cast<int>(request.prompt.size());
    const auto begin = [&](int tokens) { return Tokens(request.prompt.begin(), request.prompt.begin() + tokens); };
    int expected = 0;
    while (expected + kChunk <= size - std::max(1, request.prompt_logits) &&
           kept[request.tenant].contains(begin(expected + kChunk)))
      expected += kChunk;
    for (int n = kChunk; n <= size; n += kChunk) kept[request.tenant].insert(begin(n));
    const RequestResult result = RunRequest(*rig.engine, request).result;
    EXPECT_EQ(result.cached_tokens, expected) << "round " << round;
    EXPECT_EQ(result.prefill_tokens, size - expected);
    lookups += request.prompt_logits < size ? 1 : 0;
    hits += expected > 0 ? 1 : 0;
  }
  const kv::PrefixStats stats = rig.engine->stats().kv.prefix;
  EXPECT_EQ(stats.lookups, static_cast<uint64_t>(lookups));
  EXPECT_EQ(stats.hits, static_cast<uint64_t>(hits));
  EXPECT_EQ(stats.chunks_kept, kept["a"].size() + kept["b"].size());
  EXPECT_EQ(stats.chunks, static_cast<int64_t>(stats.chunks_kept));
  EXPECT_GT(hits, 20);
}

// What one tenant has read is not to be found by another, by how fast it answers either, unless the operator says so.
TEST(Prefix, IsOfOneTenant) {
  for (const bool across : {false, true}) {
    RigOptions options = OptionsOf({}, true);
    options.engine.share_prefixes_across_tenants = across;
    const Rig rig = MakeRig(std::move(options));
    const auto ask = [&](const std::string& tenant) {
      return RunRequest(*rig.engine, {.prompt = SmallPrompt(100, 1), .max_tokens = 2, .tenant = tenant})
          .result.cached_tokens;
    };
    EXPECT_EQ(ask("alice"), 0);
    EXPECT_EQ(ask("bob"), across ? 96 : 0);
    EXPECT_EQ(ask(""), across ? 96 : 0);
    EXPECT_EQ(ask("alice"), 96);
    EXPECT_EQ(ask("bob"), 96);
  }
}

// Two prompts that are read at the same time: each chunk they have in common is read once.
TEST(Prefix, IsSharedWhileItIsRead) {
  const Rig rig = MakeRig(OptionsOf({}, true)), fresh = MakeRig(OptionsOf({}, false));
  const Tokens common = SmallPrompt(10 * kChunk, 1);
  std::vector<Request> requests;
  std::vector<RequestId> ids;
  for (uint64_t i = 0; i < 3; ++i) {
    requests.push_back({.prompt = Joined(common, SmallPrompt(20, 2 + i)), .max_tokens = 5, .ignore_eos = true});
    ids.push_back(*rig.engine->Submit(requests.back()));
  }
  RunAll(*rig.engine);
  int computed = 0;
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(rig.engine->result(ids[i]).fingerprint, RunRequest(*fresh.engine, requests[i]).result.fingerprint);
    computed += rig.engine->result(ids[i]).prefill_tokens;
  }
  EXPECT_EQ(computed, 10 * kChunk + 3 * 20);
  // Each has reserved what it shares, too; nobody holds it twice.
  const std::vector<kv::SequenceNeeds> needs(3, rig.model->SequenceNeeds(10 * kChunk + 25));
  const uint64_t reserved = rig.engine->store().SmallestBudget(needs), held = rig.engine->stats().kv.host_peak_bytes;
  std::printf("3 sequences with %d of %d tokens in common: %.2f MiB reserved, %.2f MiB held\n", 10 * kChunk,
              10 * kChunk + 25, static_cast<double>(reserved) / kMiB, static_cast<double>(held) / kMiB);
  EXPECT_LT(held, reserved / 3 * 2);
}

TEST(Prefix, OffKeepsNothing) {
  const Rig rig = MakeRig(OptionsOf({}, false));
  const uint64_t base = rig.engine->store().host_used_bytes();
  for (int i = 0; i < 2; ++i)
    EXPECT_EQ(RunRequest(*rig.engine, {.prompt = SmallPrompt(200, 1), .max_tokens = 2}).result.cached_tokens, 0);
  EXPECT_EQ(rig.engine->store().host_used_bytes(), base);
}

// A sequence that answered, was cut and continued: only what a fresh request would read in the same passes is kept of
// it and taken over by it.
TEST(Prefix, OfContinuedSequences) {
  const Rig rig = MakeRig(OptionsOf({}, true)), fresh = MakeRig(OptionsOf({}, false));
  const Tokens document = SmallPrompt(200, 1), question = SmallPrompt(150, 2);
  const RequestId id = *rig.engine->Submit(
      {.prompt = document, .max_tokens = 30, .ignore_eos = true, .keep_open = true, .reserve_tokens = 600});
  RunAll(*rig.engine);
  const Tokens answered = rig.engine->tokens(id);
  for (const int keep : {230, 200, 70, 64, 0}) {
    const std::vector<TokenId>& now = rig.engine->tokens(id);
    const Tokens kept(now.begin(), now.begin() + keep);
    ASSERT_TRUE(
        rig.engine->Continue(id, keep, question, {.max_tokens = 8, .ignore_eos = true, .keep_open = true}).ok());
    RunAll(*rig.engine);
    const Request same = {.prompt = Joined(kept, question), .max_tokens = 8, .ignore_eos = true};
    const RequestResult expected = RunRequest(*fresh.engine, same).result;
    // The answer's own steps, and a last piece shorter than a chunk, are part of how a continued sequence came about.
    if (keep < 200) {
      EXPECT_EQ(rig.engine->result(id).fingerprint, expected.fingerprint) << "kept " << keep;
    }
    EXPECT_EQ(RunRequest(*rig.engine, same).result.fingerprint, expected.fingerprint) << "kept " << keep;
  }
  rig.engine->Release(id);
  EXPECT_GT(rig.engine->stats().kv.prefix.hits, 3u);
}

// The shipped model: a system prompt of many chunks, several KV heads, long answers.
TEST(Prefix, OfTheShippedModel) {
  RigOptions options;
  options.engine.prefix_cache = true;
  const Rig rig = MakeRig(std::move(options)), fresh = MakeRig({});
  const Tokens system = RandomPrompt(1600, 1);
  for (uint64_t i = 0; i < 3; ++i) {
    const Request request = {.prompt = Joined(system, RandomPrompt(100, 2 + i)), .max_tokens = 70, .ignore_eos = true};
    const RequestResult expected = RunRequest(*fresh.engine, request).result;
    const RequestResult result = RunRequest(*rig.engine, request).result;
    EXPECT_EQ(result.ids, expected.ids);
    EXPECT_EQ(result.fingerprint, expected.fingerprint);
    EXPECT_EQ(result.cached_tokens, i == 0 ? 0 : 1536);
    std::printf("request %llu: %d of %d tokens cached, read in %.0f ms, without a cache %.0f ms\n",
                static_cast<unsigned long long>(i), result.cached_tokens, result.prompt_tokens,
                1e3 * result.prefill_seconds, 1e3 * expected.prefill_seconds);
  }
  const kv::PrefixStats stats = rig.engine->stats().kv.prefix;
  std::printf("%lld chunks keep %.1f MiB of blocks and %.2f MiB of summaries\n", static_cast<long long>(stats.chunks),
              static_cast<double>(stats.retained_bytes) / kMiB, static_cast<double>(stats.summary_bytes) / kMiB);
}

}  // namespace
}  // namespace nosa::engine
