// Answers as a user of the engine gets them: draws that repeat, text that stops where it should, and cancelling, which
// gives everything back.
#include <set>

#include "kv/tier.h"
#include "tests/parity/engine_test_util.h"

namespace nosa::engine {
namespace {

Request Sampled(uint64_t seed) {
  Request request = {.prompt = RandomPrompt(300, 21), .max_tokens = 24, .ignore_eos = true};
  request.sampling = {
      .temperature = 1.0f, .top_k = 200, .top_p = 0.95f, .min_p = 0.001f, .repetition_penalty = 1.1f, .seed = seed};
  return request;
}

TEST(Sampling, TheSameSeedDrawsTheSameTokensInAnyCompany) {
  const Rig alone = MakeRig({}), crowd = MakeRig({});
  std::vector<std::vector<TokenId>> expected;
  for (const uint64_t seed : {1u, 2u, 3u}) {
    expected.push_back(RunRequest(*alone.engine, Sampled(seed)).result.ids);
    EXPECT_EQ(RunRequest(*alone.engine, Sampled(seed)).result.ids, expected.back()) << "again, seed " << seed;
  }
  EXPECT_EQ(std::set(expected.begin(), expected.end()).size(), 3u) << "other seeds draw other tokens";

  std::vector<RequestId> ids;
  for (const uint64_t seed : {1u, 2u, 3u}) ids.push_back(*crowd.engine->Submit(Sampled(seed)));
  (void)*crowd.engine->Submit({.prompt = RandomPrompt(700, 22), .max_tokens = 5, .ignore_eos = true});
  RunAll(*crowd.engine);
  for (size_t i = 0; i < ids.size(); ++i)
    EXPECT_EQ(crowd.engine->result(ids[i]).ids, expected[i]) << "in company, request " << i;
}

// Answers with text: what came piece by piece is the result's, and ends before the first stop string, wherever token
// borders are.
TEST(Stop, StringsAcrossTokenBorders) {
  RigOptions options;
  options.tokenizer = true;
  const Rig rig = MakeRig(std::move(options));
  const Request free = {.prompt = RandomPrompt(200, 23),
                        .sampling = {.temperature = 1.5f, .seed = 5},
                        .max_tokens = 40,
                        .ignore_eos = true};
  const Outcome whole = RunRequest(*rig.engine, free);
  const std::string& text = whole.result.text;
  ASSERT_GT(text.size(), 40u);
  for (size_t begin = 5; begin + 9 < text.size(); begin += 7) {
    if ((text[begin] & 0xc0) == 0x80) continue;  // no stop string begins inside a character
    Request request = free;
    request.stop = {text.substr(begin, 9), "a string that never comes"};
    const RequestId id = *rig.engine->Submit(request);
    std::string streamed;
    std::vector<Event> events;
    while (rig.engine->HasWork()) {
      events.clear();
      ASSERT_TRUE(rig.engine->Step(&events).ok());
      for (const Event& event : events) streamed += event.text;
    }
    const RequestResult& result = rig.engine->result(id);
    EXPECT_EQ(result.reason, FinishReason::kStop) << "stop at " << begin;
    EXPECT_EQ(result.text, text.substr(0, text.find(request.stop[0])));
    EXPECT_EQ(streamed, result.text);
    ASSERT_LE(result.ids.size(), whole.result.ids.size());
    EXPECT_TRUE(std::equal(result.ids.begin(), result.ids.end(), whole.result.ids.begin()));
    rig.engine->Release(id);
  }
}

// `steps` into a request of 1,300 tokens: before its first step, with a part of the prompt read, while it answers.
TEST(Cancel, InEveryPhaseGivesEverythingBack) {
  for (const bool offloaded : {false, true}) {
    RigOptions options;
    if (offloaded) {
      options.engine.host_budget_bytes = 6 * kMiB;
      options.engine.cold = std::move(kv::MakeTier("memory", {.location = "", .capacity_bytes = 64 * kMiB})).value();
    }
    const Rig rig = MakeRig(std::move(options));
    Engine& engine = *rig.engine;
    const auto request = [](bool keep_open) {
      return Request{.prompt = RandomPrompt(1300, 24), .max_tokens = 100, .ignore_eos = true, .keep_open = keep_open};
    };
    RunRequest(engine, request(false));
    const uint64_t base = engine.store().host_used_bytes();
    for (const bool keep_open : {false, true}) {
      for (const int steps : {0, 1, 2, 3, 60}) {
        const RequestId id = *engine.Submit(request(keep_open));
        std::vector<Event> events;
        for (int i = 0; i < steps; ++i) ASSERT_TRUE(engine.Step(&events).ok());
        engine.Cancel(id);
        events.clear();
        ASSERT_TRUE(engine.Step(&events).ok());
        ASSERT_EQ(events.size(), 1u);
        EXPECT_EQ(events[0].reason, FinishReason::kCancelled);
        EXPECT_FALSE(engine.HasWork());
        if (keep_open) {  // it may go on where it was, and be given up again
          EXPECT_TRUE(
              engine
                  .Continue(id, static_cast<int>(engine.tokens(id).size()), {5}, {.max_tokens = 2, .ignore_eos = true})
                  .ok());
          RunAll(engine);
          EXPECT_EQ(engine.result(id).ids.size(), 2u);
        }
        engine.Release(id);
        EXPECT_EQ(engine.store().host_used_bytes(), base) << "after " << steps << " steps";
        EXPECT_EQ(engine.store().stats().cold_bytes, 0u) << "after " << steps << " steps";
      }
    }
  }
}

}  // namespace
}  // namespace nosa::engine
