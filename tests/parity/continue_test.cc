// Sequences that are cut and continued: what they answer is what a fresh request with the same tokens answers, also
// when blocks come back damaged, and one that cannot go on ends alone.
#include "tests/conformance/kv/faulty_tier.h"
#include "tests/parity/engine_test_util.h"

namespace nosa::engine {
namespace {

std::vector<TokenId> Joined(std::vector<TokenId> first, const std::vector<TokenId>& second) {
  first.insert(first.end(), second.begin(), second.end());
  return first;
}

// Continuing after a cut equals a fresh request with the same tokens, cut at chunk boundaries.
TEST(Continue, AfterACutAsFromTheStart) {
  const std::vector<TokenId> document = RandomPrompt(1024, 3), question = RandomPrompt(20, 4);
  std::vector<TokenId> whole = document;
  whole.insert(whole.end(), question.begin(), question.end());
  const Rig fresh = MakeRig({});
  const Outcome expected = RunRequest(*fresh.engine, {.prompt = whole, .max_tokens = 80, .ignore_eos = true});

  const Rig rig = MakeRig({});
  const RequestId id =
      *rig.engine->Submit({.prompt = document, .max_tokens = 0, .keep_open = true, .reserve_tokens = 1500});
  RunAll(*rig.engine);
  // The answer seals a block; the cut at 1024, and one inside a sealed block first, must undo that.
  for (const int keep : {1024, 1100, 1024}) {
    const std::vector<TokenId> so_far = rig.engine->tokens(id);
    std::vector<TokenId> tokens(keep == 1024 ? question : std::vector<TokenId>{7, 8, 9});
    const int kept = std::min<int>(keep, static_cast<int>(so_far.size()));
    ASSERT_TRUE(rig.engine->Continue(id, kept, tokens, {.max_tokens = 80, .ignore_eos = true, .keep_open = true}).ok());
    RunAll(*rig.engine);
    if (keep != 1024) continue;
    EXPECT_EQ(rig.engine->result(id).ids, expected.result.ids);
    EXPECT_EQ(rig.engine->result(id).fingerprint, expected.result.fingerprint);
  }
  rig.engine->Release(id);
}

// Wherever the cut falls (each one before the last, so that what is kept is of the document): at 0, at and around block
// and chunk boundaries, inside chunks, in the answer.
TEST(Continue, FromAnyCutAsFromTheStart) {
  const std::vector<TokenId> document = RandomPrompt(1100, 5), question = RandomPrompt(20, 6);
  const Rig fresh = MakeRig({}), rig = MakeRig({});
  const RequestId id =
      *rig.engine->Submit({.prompt = document, .max_tokens = 0, .keep_open = true, .reserve_tokens = 1300});
  RunAll(*rig.engine);
  for (const int keep : {1100, 1099, 1024, 1023, 700, 513, 512, 64, 63, 1, 0}) {
    const std::vector<TokenId> kept(document.begin(), document.begin() + keep);
    const Outcome expected =
        RunRequest(*fresh.engine, {.prompt = Joined(kept, question), .max_tokens = 12, .ignore_eos = true});
    ASSERT_TRUE(
        rig.engine->Continue(id, keep, question, {.max_tokens = 12, .ignore_eos = true, .keep_open = true}).ok());
    RunAll(*rig.engine);
    EXPECT_EQ(rig.engine->tokens(id).size(), static_cast<size_t>(keep) + question.size() + 12);
    EXPECT_EQ(rig.engine->result(id).ids, expected.result.ids) << "kept " << keep;
    EXPECT_EQ(rig.engine->result(id).fingerprint, expected.result.fingerprint) << "kept " << keep;
  }
}

TEST(Continue, WhatWasNotKeptOpenOrFailedIsRefused) {
  const Rig rig = MakeRig({});
  const RequestId closed = *rig.engine->Submit({.prompt = {5, 6}, .max_tokens = 1, .ignore_eos = true});
  RunAll(*rig.engine);
  EXPECT_EQ(rig.engine->Continue(closed, 1, {7}, {.max_tokens = 1}).code(), StatusCode::kFailedPrecondition);
  rig.engine->Release(closed);
}

// A cold tier under it whose faults a test switches on when it wants them.
struct FaultyRig {
  Rig rig;
  kv::FaultyTier* tier = nullptr;
};

FaultyRig MakeFaultyRig(double budget_factor, int tokens, int sequences = 1) {
  const auto cold = [] {
    return std::move(kv::MakeTier("memory", {.location = "", .capacity_bytes = 256 * kMiB})).value();
  };
  RigOptions probe;
  probe.engine.cold = cold();
  const Rig first = MakeRig(std::move(probe));
  const std::vector<kv::SequenceNeeds> needs(static_cast<size_t>(sequences), first.model->SequenceNeeds(tokens));
  RigOptions options;
  options.engine.host_budget_bytes =
      static_cast<uint64_t>(static_cast<double>(first.engine->store().SmallestBudget(needs)) * budget_factor);
  auto faulty = std::make_unique<kv::FaultyTier>(cold(), 7, kv::FaultPlan{});
  FaultyRig made;
  made.tier = faulty.get();
  options.engine.cold = std::move(faulty);
  made.rig = MakeRig(std::move(options));
  return made;
}

// Chunks, single steps, cuts inside both, and damage all the while.
TEST(Damage, OfASequenceThatWasContinuedSeveralTimes) {
  const Rig in_ram = MakeRig({});
  const FaultyRig faulty = MakeFaultyRig(2.0, 2400);
  const Request start = {
      .prompt = RandomPrompt(2000, 8), .max_tokens = 30, .ignore_eos = true, .keep_open = true, .reserve_tokens = 2400};
  const RequestId a = *in_ram.engine->Submit(start), b = *faulty.rig.engine->Submit(start);
  faulty.tier->plan() = {.corrupt_read = 0.00005, .corrupt_write = 0.003};
  const std::vector<int> keeps = {2030, 1990, 1700, 1717, 1536, 1601};
  for (size_t round = 0; round <= keeps.size(); ++round) {
    RunAll(*in_ram.engine);
    RunAll(*faulty.rig.engine);
    ASSERT_TRUE(faulty.rig.engine->result(b).error.ok()) << faulty.rig.engine->result(b).error.ToString();
    EXPECT_EQ(faulty.rig.engine->result(b).ids, in_ram.engine->result(a).ids) << "round " << round;
    EXPECT_EQ(faulty.rig.engine->result(b).fingerprint, in_ram.engine->result(a).fingerprint) << "round " << round;
    if (round == keeps.size()) break;
    const Request more = {.max_tokens = 40, .ignore_eos = true, .keep_open = true};
    const std::vector<TokenId> tokens = RandomPrompt(60, 9 + round);
    ASSERT_TRUE(in_ram.engine->Continue(a, keeps[round], tokens, more).ok());
    ASSERT_TRUE(faulty.rig.engine->Continue(b, keeps[round], tokens, more).ok());
  }
  EXPECT_GT(faulty.rig.engine->stats().recomputed_blocks, 0u);
}

// A cut whose tail block cannot be read ends the sequence: its summaries no longer fit it.
TEST(Damage, ACutThatCannotReadItsTailEndsTheSequence) {
  const FaultyRig faulty = MakeFaultyRig(1.0, 1300);
  Engine& engine = *faulty.rig.engine;
  const RequestId id = *engine.Submit({.prompt = RandomPrompt(512, 3),
                                       .max_tokens = 700,
                                       .ignore_eos = true,
                                       .keep_open = true,
                                       .reserve_tokens = 1300});
  RunAll(engine);
  faulty.tier->plan() = {.fail_read = 1};
  const Status cut = engine.Continue(id, 600, {5}, {.max_tokens = 3, .keep_open = true});
  EXPECT_EQ(cut.code(), StatusCode::kIo);
  EXPECT_EQ(engine.result(id).reason, FinishReason::kError);
  faulty.tier->plan() = {};
  EXPECT_EQ(engine.Continue(id, 600, {5}, {.max_tokens = 3, .keep_open = true}).code(),
            StatusCode::kFailedPrecondition);
  EXPECT_EQ(engine.store().stats().cold_bytes, 0u);
  engine.Release(id);
}

// One read that fails in a step of several sequences ends one of them; the others give what they give alone.
TEST(Damage, AFailedReadEndsOnlyItsOwnSequence) {
  const auto request = [](uint64_t i) {
    return Request{.prompt = RandomPrompt(2600, i), .max_tokens = 24, .ignore_eos = true};
  };
  const Rig alone = MakeRig({});
  const FaultyRig faulty = MakeFaultyRig(1.0, 2700, 3);
  std::vector<RequestId> ids;
  std::vector<Outcome> expected;
  for (uint64_t i = 0; i < 3; ++i) {
    expected.push_back(RunRequest(*alone.engine, request(i)));
    ids.push_back(*faulty.rig.engine->Submit(request(i)));
  }
  std::vector<Event> events;
  const auto all_answer = [&] {
    return std::all_of(ids.begin(), ids.end(),
                       [&](RequestId id) { return faulty.rig.engine->result(id).ids.size() >= 2; });
  };
  while (!all_answer()) ASSERT_TRUE(faulty.rig.engine->Step(&events).ok());
  const auto failed = [&] {
    return std::count_if(ids.begin(), ids.end(),
                         [&](RequestId id) { return faulty.rig.engine->result(id).reason == FinishReason::kError; });
  };
  // The joint step fails, and then whoever the next failing read belongs to when it goes alone.
  while (faulty.rig.engine->HasWork()) {
    faulty.tier->plan().fail_read = failed() == 0 ? 0.0005 : 0;
    ASSERT_TRUE(faulty.rig.engine->Step(&events).ok());
  }
  EXPECT_GE(failed(), 1);
  EXPECT_LT(failed(), 3);
  for (size_t i = 0; i < ids.size(); ++i) {
    const RequestResult& result = faulty.rig.engine->result(ids[i]);
    if (result.reason == FinishReason::kError) continue;
    EXPECT_EQ(result.ids, expected[i].result.ids) << "request " << i;
    EXPECT_EQ(result.fingerprint, expected[i].result.fingerprint) << "request " << i;
  }
}

}  // namespace
}  // namespace nosa::engine
