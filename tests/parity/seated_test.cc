// The engine whose decode steps are planned on the device against the engine that plans them on the host: the same
// answers, wherever the blocks are kept and whoever else is answered; and sequences that leave their seats go on as if
// they had never sat.
#include <algorithm>
#include <cmath>
#include <map>

#include "kv/tier.h"
#include "model/slot_plan.h"
#include "tests/parity/engine_test_util.h"
#include "tests/parity/small_models.h"

namespace nosa::engine {
namespace {

constexpr int kSeats = 3, kMaxTokens = 1500;

struct Where {
  std::string backend;
  DType dtype = DType::kF32;
  std::string selector = "nosa";
  std::string model = "nosa-21m";
  friend std::ostream& operator<<(std::ostream& out, const Where& w) {
    return out << w.backend << "_" << DTypeName(w.dtype) << "_" << w.selector << "_" << w.model;
  }
};

std::string ModelOf(const Where& where) {
  return where.model == "OneKvHead" ? SmallCheckpoint("seated_one_kv_head", OneKvHead(false), 5) : DemoModel();
}

// Fewest: no more slots than a step reads. Most: all blocks have one. Default: as the engine chooses.
enum class Room : uint8_t { kFewest, kMost, kDefault };

uint64_t KvBytes(const model::Model& model, const Where& where, int seats, int max_tokens, Room room) {
  const kv::BlockLayout layout = model.block_layout();
  const int all = layout.Blocks(max_tokens) - 1;
  const int least = where.selector == "full" ? all : std::min(all, model.attention_config().topk - 1);
  return kv::SeatStore::DeviceBytes({layout, seats, room == Room::kFewest ? least : all, max_tokens});
}

struct Seats {
  DecodePlan plan = DecodePlan::kStep;
  Room room = Room::kDefault;
  int seats = kSeats;
  int max_tokens = kMaxTokens;
};

Rig MakeSeated(const Where& where, const Seats& seats, std::unique_ptr<kv::Tier> cold = nullptr) {
  RigOptions options;
  options.model = ModelOf(where);
  options.backend = where.backend;
  options.load.dtype = where.dtype;
  options.engine.attention.selector = where.selector;
  options.engine.cold = std::move(cold);
  options.engine.decode.plan = seats.plan;
  options.engine.decode.seats = seats.seats;
  options.engine.decode.max_tokens = seats.max_tokens;
  if (seats.room != Room::kDefault) {
    const auto model = model::Model::Open(options.model, {.dtype = where.dtype});
    options.engine.decode.kv_bytes = KvBytes(**model, where, seats.seats, seats.max_tokens, seats.room);
  }
  return MakeRig(std::move(options));
}

Rig MakePlanned(const Where& where) { return MakeSeated(where, {.plan = DecodePlan::kPlanned}); }

// Prompts that fill no block, whole blocks, many; greedy and drawn; short and long answers.
std::vector<Request> Requests(const Where& where) {
  std::vector<Request> requests;
  const std::vector<int> lengths = {5, 64, 900, 31, 513, 320, 700};
  for (size_t i = 0; i < lengths.size(); ++i) {
    const int turn = static_cast<int>((3 * i) % lengths.size());
    Request request = {.prompt = RandomPrompt(lengths[i], i),
                       .max_tokens = (where.model == "OneKvHead" ? 20 + 17 * turn : 12 + 7 * turn),
                       .ignore_eos = true};
    if (where.model == "OneKvHead") {
      for (TokenId& id : request.prompt) id = id % 257;
    }
    if (i % 3 == 1) request.sampling = {.temperature = 0.9f, .top_k = 50, .top_p = 0.95f, .seed = i};
    if (i == 5) request.sampling = {.repetition_penalty = 1.2f};
    requests.push_back(std::move(request));
  }
  return requests;
}

bool IsGreedy(const Request& request) { return request.sampling.temperature == 0 && request.sampling.plain(); }

struct Answered {
  std::vector<std::vector<TokenId>> ids;
  std::vector<uint64_t> fingerprints;
  std::vector<FinishReason> reasons;
};

// They come one every few steps, more than there are seats; the fifth is cancelled in its answer.
Answered RunCompany(Engine& engine, std::vector<Request> waiting) {
  Answered out;
  std::vector<RequestId> ids;
  std::vector<Event> events;
  for (size_t step = 0, next = 0; next < waiting.size() || engine.HasWork(); ++step) {
    if (next < waiting.size() && step % 3 == 0) ids.push_back(engine.Submit(waiting[next++]).value());
    if (ids.size() > 4 && engine.result(ids[4]).ids.size() == 7) engine.Cancel(ids[4]);
    events.clear();
    const Status status = engine.Step(&events);
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  for (const RequestId id : ids) {
    out.ids.push_back(engine.result(id).ids);
    out.fingerprints.push_back(engine.result(id).fingerprint);
    out.reasons.push_back(engine.result(id).reason);
    EXPECT_TRUE(engine.result(id).error.ok()) << engine.result(id).error.ToString();
    engine.Release(id);
  }
  return out;
}

// Whether two greedy answers to a prompt have the same tokens. Where a GPU's products round otherwise, they may part at
// two tokens that are as likely to within it; anywhere else, and for any other reason, that fails the test.
bool SameAnswer(const Where& where, const std::vector<TokenId>& prompt, const std::vector<TokenId>& planned,
                const std::vector<TokenId>& seated) {
  const size_t at = static_cast<size_t>(
      std::mismatch(planned.begin(), planned.end(), seated.begin(), seated.end()).first - planned.begin());
  if (at == planned.size() && at == seated.size()) return true;
  if (where.backend != "cuda" || at == planned.size() || at == seated.size()) {
    EXPECT_EQ(seated, planned);
    return false;
  }
  Request request = {.prompt = prompt, .max_tokens = 0, .prompt_logits = 1};
  request.prompt.insert(request.prompt.end(), planned.begin(), planned.begin() + static_cast<ptrdiff_t>(at));
  const Rig rig = MakePlanned(where);
  const Outcome outcome = RunRequest(*rig.engine, request);
  const std::vector<float>& logits = outcome.logits.at(0);
  const float apart = logits[static_cast<size_t>(planned[at])] - logits[static_cast<size_t>(seated[at])];
  EXPECT_LT(std::abs(apart), 4e-3f) << "token " << at << ": " << planned[at] << " and " << seated[at];
  return false;
}

class SeatedTest : public testing::TestWithParam<Where> {};

// Tokens are the host-planned engine's (f32: bf16 products of all seats round otherwise than one row's). The bits of
// the logits are those that a sequence has alone, with as many seats, and do not depend on the slots.
TEST_P(SeatedTest, AnswersAsTheHostPlans) {
  if (const std::string why = WhyNot(GetParam().backend); !why.empty()) GTEST_SKIP() << why;
  const std::vector<Request> requests = Requests(GetParam());
  Answered expected;
  {
    const Rig planned = MakePlanned(GetParam());
    expected = RunCompany(*planned.engine, requests);
    EXPECT_EQ(planned.engine->stats().seating.seats, 0);
  }
  std::vector<uint64_t> alone;
  {
    const Rig rig = MakeSeated(GetParam(), {});
    for (const Request& request : requests) alone.push_back(RunRequest(*rig.engine, request).result.fingerprint);
  }
  for (const Room room : {Room::kFewest, Room::kMost, Room::kDefault}) {
    SCOPED_TRACE(fmt::format("room {}", static_cast<int>(room)));
    const Rig rig = MakeSeated(GetParam(), {.room = room});
    const uint64_t empty = rig.engine->store().host_used_bytes();
    const Answered answered = RunCompany(*rig.engine, requests);
    for (size_t i = 0; i < requests.size(); ++i) {
      SCOPED_TRACE(fmt::format("request {}", i));
      if (GetParam().dtype == DType::kF32 && IsGreedy(requests[i])) {
        SameAnswer(GetParam(), requests[i].prompt, expected.ids[i], answered.ids[i]);
      } else if (GetParam().dtype == DType::kF32 && GetParam().backend != "cuda") {
        EXPECT_EQ(answered.ids[i], expected.ids[i]);
      }
      EXPECT_EQ(answered.reasons[i], expected.reasons[i]);
      // The fifth was cancelled.
      EXPECT_EQ(answered.fingerprints[i] == alone[i], i != 4) << "request " << i;
    }
    const EngineStats stats = rig.engine->stats();
    EXPECT_EQ(stats.seating.seats, kSeats);
    EXPECT_EQ(rig.engine->store().host_used_bytes(), empty) << "what was taken for steps is given back";
    if (stats.seating.slots > 0) {
      EXPECT_GT(stats.seating.counters.selected, 0u);
      EXPECT_EQ(stats.seating.bytes_fetched > 0, stats.seating.counters.missing > 0);
      EXPECT_GT(stats.decode_locality.mean(), 0.3);
      EXPECT_LE(stats.decode_locality.mean(), 1.0);
    }
  }
}

// What a device can draw by itself: every parameter of a draw, and greedy ones between.
std::vector<Request> PlainRequests(const Where& where, uint64_t seed) {
  std::vector<Request> requests = Requests(where);
  for (size_t i = 0; i < requests.size(); ++i) {
    const Philox rng(seed, i);
    SamplingParams& sampling = requests[i].sampling = {};
    if (i % 4 == 2) continue;
    sampling.temperature = 0.5f + rng.Uniform(0);
    if (i % 2 == 0) sampling.top_k = 2 + static_cast<int>(rng.Uniform(1) * 60);
    if (i % 3 == 0) sampling.top_p = 0.5f + 0.5f * rng.Uniform(2);
    if (i % 5 == 1) sampling.min_p = 0.2f * rng.Uniform(3);
    sampling.seed = seed + i;
  }
  return requests;
}

// Who has to see the logits takes the tokens from them by the same draw, so with them and without, the tokens are the
// same; and without, nobody reads them.
TEST_P(SeatedTest, DrawsWhereTheLogitsAre) {
  if (const std::string why = WhyNot(GetParam().backend); !why.empty()) GTEST_SKIP() << why;
  std::vector<Request> requests = PlainRequests(GetParam(), 40);
  const Rig with = MakeSeated(GetParam(), {}), without = MakeSeated(GetParam(), {});
  const Answered expected = RunCompany(*with.engine, requests);
  EXPECT_GT(with.engine->stats().seating.logit_reads, 0);
  for (Request& request : requests) request.fingerprint = false;
  const Answered answered = RunCompany(*without.engine, requests);
  EXPECT_EQ(answered.ids, expected.ids);
  EXPECT_EQ(without.engine->stats().seating.logit_reads, 0);
  for (const uint64_t fingerprint : answered.fingerprints) EXPECT_EQ(fingerprint, 0u);

  // That the seeds matter: the greedy ones alone stay.
  for (size_t i = 0; i < requests.size(); ++i) requests[i].sampling.seed += 1000;
  const Answered others = RunCompany(*without.engine, requests);
  for (size_t i = 0; i < requests.size(); ++i) EXPECT_EQ(others.ids[i] == answered.ids[i], IsGreedy(requests[i])) << i;
}

// And beside requests that need the host.
TEST_P(SeatedTest, WithoutAFingerprintTheSameTokens) {
  if (const std::string why = WhyNot(GetParam().backend); !why.empty()) GTEST_SKIP() << why;
  std::vector<Request> requests = Requests(GetParam());
  const Rig with = MakeSeated(GetParam(), {}), without = MakeSeated(GetParam(), {});
  const Answered expected = RunCompany(*with.engine, requests);
  for (Request& request : requests) request.fingerprint = false;
  const Answered answered = RunCompany(*without.engine, requests);
  EXPECT_EQ(answered.ids, expected.ids);
  for (const uint64_t fingerprint : answered.fingerprints) EXPECT_EQ(fingerprint, 0u);
}

// A sequence's tokens are those it has alone, however its neighbours' are drawn.
TEST_P(SeatedTest, NeighboursDrawAsTheyLike) {
  if (const std::string why = WhyNot(GetParam().backend); !why.empty()) GTEST_SKIP() << why;
  constexpr size_t kOne = 1;  // others take their seats before it, while it sits, and leave theirs
  std::vector<Request> requests = PlainRequests(GetParam(), 50);
  for (Request& request : requests) request.fingerprint = false;
  const Request one = requests[kOne];
  ASSERT_GT(one.sampling.temperature, 0);
  const Rig rig = MakeSeated(GetParam(), {});
  const std::vector<TokenId> alone = RunRequest(*rig.engine, one).result.ids;
  EXPECT_EQ(RunCompany(*rig.engine, requests).ids[kOne], alone);
  for (const bool fingerprint : {false, true}) {
    requests = PlainRequests(GetParam(), fingerprint ? 60 : 70);
    for (Request& request : requests) request.fingerprint = fingerprint;
    requests[kOne] = one;
    EXPECT_EQ(RunCompany(*rig.engine, requests).ids[kOne], alone) << "fingerprint " << fingerprint;
  }
}

// In f32: rounding to bf16 differs by as much as the logits of two tokens.
class LeavingTest : public testing::TestWithParam<Where> {};

// A sequence that leaves its seat is whole: a continuation from a cut inside what the steps wrote, in the middle of a
// block and at its border, answers as with the host's plans.
TEST_P(LeavingTest, ContinuesAfterItsSeat) {
  if (const std::string why = WhyNot(GetParam().backend); !why.empty()) GTEST_SKIP() << why;
  const Rig planned = MakePlanned(GetParam()), seated = MakeSeated(GetParam(), {.room = Room::kFewest});
  Request start = Requests(GetParam())[6];
  start.sampling = {};
  start.max_tokens = 150;  // over two blocks' borders
  start.keep_open = true;
  start.reserve_tokens = 1100;
  const auto submit = [&](Engine& engine) {
    const RequestId id = engine.Submit(start).value();
    RunAll(engine);
    return id;
  };
  const RequestId a = submit(*planned.engine), b = submit(*seated.engine);
  if (!SameAnswer(GetParam(), start.prompt, planned.engine->result(a).ids, seated.engine->result(b).ids)) {
    GTEST_SKIP() << "the answers parted where two tokens are as likely: what follows has no twin";
  }
  const Request more = {.max_tokens = 70, .ignore_eos = true, .keep_open = true};
  // Each cut is in the first answer.
  for (const int keep : {850, 800, 769, 768, 767, 700, 512}) {
    const std::vector<TokenId> tokens = {7, 8, static_cast<TokenId>(keep % 200)};
    ASSERT_TRUE(planned.engine->Continue(a, keep, tokens, more).ok());
    ASSERT_TRUE(seated.engine->Continue(b, keep, tokens, more).ok());
    RunAll(*planned.engine);
    RunAll(*seated.engine);
    SCOPED_TRACE(fmt::format("kept {}", keep));
    std::vector<TokenId> prompt = planned.engine->tokens(a);
    prompt.resize(prompt.size() - planned.engine->result(a).ids.size());
    SameAnswer(GetParam(), prompt, planned.engine->result(a).ids, seated.engine->result(b).ids);
    if (HasFailure()) return;
  }
  planned.engine->Release(a);
  seated.engine->Release(b);
}

// What the steps wrote is what the host-planned engine reads and writes: a prompt's logits after an answer differ by
// the answer's rounding alone.
TEST_P(LeavingTest, HandsBackSummariesAndBlocks) {
  if (const std::string why = WhyNot(GetParam().backend); !why.empty()) GTEST_SKIP() << why;
  const Rig planned = MakePlanned(GetParam()), seated = MakeSeated(GetParam(), {});
  Request start = Requests(GetParam())[6];
  start.sampling = {};
  start.max_tokens = 200;
  start.keep_open = true;
  start.reserve_tokens = 1100;
  std::vector<std::vector<std::vector<float>>> logits;
  std::vector<std::vector<TokenId>> answers;
  for (Engine* engine : {planned.engine.get(), seated.engine.get()}) {
    const RequestId id = engine->Submit(start).value();
    RunAll(*engine);
    answers.push_back(engine->result(id).ids);
    const int length = static_cast<int>(engine->tokens(id).size());
    const std::vector<TokenId> more(100, 9);
    ASSERT_TRUE(engine->Continue(id, length, more, {.max_tokens = 0, .prompt_logits = 90, .keep_open = true}).ok());
    Outcome outcome;
    RunAll(*engine, &outcome);
    logits.push_back(outcome.logits);
    engine->Release(id);
  }
  if (!SameAnswer(GetParam(), start.prompt, answers[0], answers[1])) {
    GTEST_SKIP() << "the answers parted where two tokens are as likely: what follows has no twin";
  }
  ASSERT_EQ(logits[0].size(), 90u);
  double worst = 0;
  for (size_t i = 0; i < logits[0].size(); ++i) {
    for (size_t j = 0; j < logits[0][i].size(); ++j)
      worst = std::max(worst, std::abs(static_cast<double>(logits[0][i][j]) - static_cast<double>(logits[1][i][j])));
  }
  EXPECT_LT(worst, GetParam().backend == "cuda" ? 2e-3 : 1e-4);
}

std::vector<Where> Everywhere() {
  return {{"cpu"},
          {"cpu", DType::kBF16, "nosa", "OneKvHead"},
          {"cpu", DType::kF32, "nosa", "OneKvHead"},
          {"cpu", DType::kF32, "infllm2", "OneKvHead"},
          {"cpu", DType::kF32, "full", "OneKvHead"},
          {"deferred", DType::kF32, "nosa", "OneKvHead"},
          {"deferred", DType::kBF16, "nosa", "OneKvHead"},
          {"cuda"},
          {"cuda", DType::kBF16},
          {"cuda", DType::kF32, "nosa", "OneKvHead"}};
}

std::string NameOf(const testing::TestParamInfo<Where>& info) {
  std::string name = testing::PrintToString(info.param);
  std::erase(name, '-');
  return name;
}

std::vector<Where> EverywhereInF32() {
  std::vector<Where> all = Everywhere();
  std::erase_if(all, [](const Where& where) { return where.dtype != DType::kF32; });
  return all;
}

INSTANTIATE_TEST_SUITE_P(Models, SeatedTest, testing::ValuesIn(Everywhere()), NameOf);
INSTANTIATE_TEST_SUITE_P(Models, LeavingTest, testing::ValuesIn(EverywhereInF32()), NameOf);

const Where kSmall = {"cpu", DType::kF32, "nosa", "OneKvHead"};

// Who does not suit a seat is answered beside those who do: too long for one, or its selections are asked for.
TEST(Seated, TheHostPlansForWhoSuitsNoSeat) {
  std::vector<Request> requests = Requests(kSmall);
  requests[1].record_decode = true;
  const Rig planned = MakePlanned(kSmall);
  const Answered expected = RunCompany(*planned.engine, requests);
  const Rig rig = MakeSeated(kSmall, {.max_tokens = 600});
  const Answered answered = RunCompany(*rig.engine, requests);
  EXPECT_EQ(answered.ids, expected.ids);
  for (const size_t i : {1, 2, 6}) EXPECT_EQ(answered.fingerprints[i], expected.fingerprints[i]) << "request " << i;
}

// Logits are read in the steps of a sequence that needs them, and in no others.
TEST(Seated, LogitsAreReadForWhoNeedsThem) {
  const Rig rig = MakeSeated(kSmall, {});
  const Request plain = {.prompt = std::vector<TokenId>(50, 7),
                         .sampling = {.temperature = 0.8f, .top_p = 0.9f, .seed = 2},
                         .max_tokens = 30,
                         .ignore_eos = true,
                         .fingerprint = false};
  RunRequest(*rig.engine, plain);
  EXPECT_EQ(rig.engine->stats().seating.logit_reads, 0);
  std::vector<Request> needing(5, plain);
  for (Request& request : needing) request.max_tokens = 5;
  needing[0].fingerprint = true;
  needing[1].logprobs = 0;
  needing[2].sampling.repetition_penalty = 1.1f;
  needing[3].sampling.logit_bias = {{3, 1}};
  needing[4].sampling.presence_penalty = 0.1f;
  for (size_t i = 0; i < needing.size(); ++i) {
    const RequestId first = rig.engine->Submit(plain).value(), second = rig.engine->Submit(needing[i]).value();
    RunAll(*rig.engine);
    // The first of its tokens comes from the prompt's logits.
    EXPECT_EQ(rig.engine->stats().seating.logit_reads, static_cast<int64_t>(4 * (i + 1)));
    rig.engine->Release(first);
    rig.engine->Release(second);
  }
}

// A continuation is drawn as it asks itself, though its sequence sat before.
TEST(Seated, AContinuationDrawsAsItAsks) {
  std::vector<std::vector<TokenId>> answers;
  for (const bool fingerprint : {true, false}) {
    const Rig rig = MakeSeated(kSmall, {});
    Request request = {.prompt = std::vector<TokenId>(50, 7),
                       .sampling = {.temperature = 1.5f, .seed = 8},
                       .max_tokens = 20,
                       .ignore_eos = true,
                       .fingerprint = fingerprint,
                       .keep_open = true,
                       .reserve_tokens = 500};
    const RequestId id = rig.engine->Submit(request).value();
    RunAll(*rig.engine);
    answers.push_back(rig.engine->result(id).ids);
    for (const SamplingParams& next : {SamplingParams(), SamplingParams{.temperature = 1, .top_k = 30, .seed = 9}}) {
      request = {.sampling = next, .max_tokens = 20, .ignore_eos = true, .fingerprint = fingerprint, .keep_open = true};
      const int length = static_cast<int>(rig.engine->tokens(id).size());
      ASSERT_TRUE(rig.engine->Continue(id, length, {5}, request).ok());
      RunAll(*rig.engine);
      answers.push_back(rig.engine->result(id).ids);
    }
    rig.engine->Release(id);
  }
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(answers[i], answers[i + 3]) << "answer " << i;
  EXPECT_NE(answers[0], answers[1]);
  EXPECT_NE(answers[1], answers[2]);
}

// With blocks on a disk the host plans all steps.
TEST(Seated, TheHostPlansWithAColdTier) {
  const auto cold = [] { return kv::MakeTier("memory", {.location = "", .capacity_bytes = 256 * kMiB}).value(); };
  const Rig planned = MakeSeated(kSmall, {.plan = DecodePlan::kPlanned}, cold());
  const Rig rig = MakeSeated(kSmall, {}, cold());
  EXPECT_EQ(RunCompany(*rig.engine, Requests(kSmall)).fingerprints,
            RunCompany(*planned.engine, Requests(kSmall)).fingerprints);
  EXPECT_EQ(rig.engine->stats().seating.seats, 0);
}

TEST(Seated, TooLittleDeviceMemoryIsSaidAtTheStart) {
  const auto backend = MakeBackend("cpu", 1);
  const auto model = model::Model::Open(ModelOf(kSmall), {.dtype = DType::kF32}).value();
  EngineOptions options;
  options.decode.plan = DecodePlan::kStep;
  options.decode.seats = 2;
  options.decode.max_tokens = 1000;
  options.decode.kv_bytes = 10000;
  const auto engine = Engine::Create(model, nullptr, std::move(options), backend.get());
  EXPECT_EQ(engine.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(engine.status().message()), testing::HasSubstr("2 sequences of up to 1000 tokens"));
}

// Memory is pinned when that was asked for, all at once, and told of; a budget that is too small is Open's to say.
TEST(Seated, MemoryIsPinnedAheadOnce) {
  const auto backend = MakeBackend("deferred", 1);
  model::LoadOptions load;
  load.backend = backend.get();
  const auto model = model::Model::Open(ModelOf(kSmall), load).value();
  std::vector<std::pair<uint64_t, uint64_t>> told;
  EngineOptions options;
  options.pinning = [&](uint64_t done, uint64_t total) { told.push_back({done, total}); };
  const auto engine = Engine::Create(model, nullptr, std::move(options), backend.get()).value();
  const std::vector<kv::SequenceNeeds> needs(2, model->SequenceNeeds(300));
  ASSERT_TRUE(engine->store().Prepare(needs).ok());
  ASSERT_EQ(told.size(), 2u);
  const kv::BlockLayout layout = model->block_layout();
  const uint64_t total =
      2 * static_cast<uint64_t>(layout.Blocks(300) * layout.lanes()) * RoundUp(layout.BlockBytes(), 64);
  EXPECT_EQ(told.front(), std::make_pair(uint64_t{0}, total));
  EXPECT_EQ(told.back(), std::make_pair(total, total));
  const Request request = {.prompt = std::vector<TokenId>(290, 7), .max_tokens = 10, .ignore_eos = true};
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(engine->Submit(request).ok());
  EXPECT_EQ(told.size(), 2u);
  ASSERT_TRUE(engine->Submit(request).ok());
  EXPECT_EQ(told.size(), 4u) << "a third was not asked for";
  RunAll(*engine);
}

// The blocks that a step read are told with its token: those of its position, its own among them.
TEST(Seated, SelectionsOfDecodeSteps) {
  const Rig rig = MakeSeated(kSmall, {});
  std::vector<Request> requests = Requests(kSmall);
  for (Request& request : requests) request.record_decode = true;
  std::vector<RequestId> ids;
  for (const size_t i : {0, 2, 4}) ids.push_back(rig.engine->Submit(requests[i]).value());
  std::map<int32_t, int> told;
  std::vector<Event> events;
  while (rig.engine->HasWork()) {
    events.clear();
    ASSERT_TRUE(rig.engine->Step(&events).ok());
    for (const Event& event : events) {
      if (event.kind != Event::Kind::kToken || event.selection == nullptr) continue;
      const int prompt = rig.engine->result(event.request).prompt_tokens;
      EXPECT_EQ(event.first_pos, prompt + told[event.request.value]++);
      ASSERT_EQ(event.selection->layers.size(), 3u);
      for (const model::Selection& layer : event.selection->layers) {
        std::vector<int> blocks;
        model::ForEachBit(layer.Mask(event.selection_first_row, 0), [&](int block) { blocks.push_back(block); });
        EXPECT_EQ(blocks.back(), event.first_pos / 16);
        EXPECT_LE(blocks.size(), 12u);
      }
    }
  }
  // The first token comes from the prompt's logits.
  for (const RequestId id : ids) EXPECT_EQ(told[id.value], static_cast<int>(rig.engine->result(id).ids.size()) - 1);
}

}  // namespace
}  // namespace nosa::engine
