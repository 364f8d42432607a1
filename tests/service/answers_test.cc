// What somebody who watches the service sees: the requests it has, how far they are, and where their blocks lie.
#include <functional>
#include <thread>

#include "kv/tier.h"
#include "tests/service/service_test_util.h"

namespace nosa::engine {
namespace {

ServiceRequest Ask(int prompt, int answer, const std::string& tenant = "") {
  ServiceRequest request;
  request.request = {.prompt = SmallPrompt(prompt, 7), .max_tokens = answer, .ignore_eos = true};
  request.tenant = tenant;
  return request;
}

// Until `condition` holds, at most a minute.
bool Eventually(const std::function<bool()>& condition) {
  const auto until = std::chrono::steady_clock::now() + kLong;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(milliseconds(1));
  }
  return true;
}

TEST(AnswersTest, ListsWhatRunsAndWhatWaits) {
  ServiceOptions options;
  options.scheduler.max_running = 1;
  options.scheduler.max_unread_events = 8;  // nobody reads: the first stops there
  const Served served = Serve(SmallRig(), options);
  EXPECT_TRUE(served.service->Answers().empty());
  const std::unique_ptr<Answer> first = MustSubmit(*served.service, Ask(200, 100, "a"));
  const std::unique_ptr<Answer> second = MustSubmit(*served.service, Ask(50, 3, "b"));
  ASSERT_TRUE(Eventually([&] { return served.service->Answers().at(0).phase == AnswerPhase::kPaused; }));
  const std::vector<AnswerInfo> answers = served.service->Answers();
  ASSERT_EQ(answers.size(), 2u);
  EXPECT_EQ(answers[0].id, first->id());
  EXPECT_EQ(answers[0].tenant, "a");
  EXPECT_EQ(answers[0].prompt_tokens, 200);
  EXPECT_EQ(answers[0].prompt_done, 200);
  EXPECT_GT(answers[0].generated_tokens, 1);
  EXPECT_LT(answers[0].generated_tokens, 100);
  EXPECT_GT(answers[0].tokens_per_second, 0);
  EXPECT_EQ(answers[1].id, second->id());
  EXPECT_EQ(answers[1].tenant, "b");
  EXPECT_EQ(answers[1].phase, AnswerPhase::kQueued);
  EXPECT_EQ(answers[1].prompt_done, 0);

  const std::optional<CacheMap> running = served.service->Map(first->id());
  ASSERT_TRUE(running.has_value());
  EXPECT_EQ(running->answer_id, first->id());
  EXPECT_GE(running->tokens, 200);
  EXPECT_EQ(running->blocks.size(), static_cast<size_t>((running->tokens + 15) / 16));
  const std::optional<CacheMap> waiting = served.service->Map(second->id());
  ASSERT_TRUE(waiting.has_value());
  EXPECT_EQ(waiting->answer_id, second->id());
  EXPECT_TRUE(waiting->blocks.empty());

  ReadAll(*first);
  ReadAll(*second);
  EXPECT_TRUE(served.service->Answers().empty());
  EXPECT_FALSE(served.service->Map(first->id()).has_value());
  EXPECT_FALSE(served.service->Map(12345).has_value());
}

TEST(AnswersTest, ReadersWhoGoOnAreNoLongerPaused) {
  ServiceOptions options;
  options.scheduler.max_unread_events = 8;
  const Served served = Serve(SmallRig(), options);
  const std::unique_ptr<Answer> answer = MustSubmit(*served.service, Ask(20, 30));
  ASSERT_TRUE(Eventually([&] { return served.service->Answers().at(0).phase == AnswerPhase::kPaused; }));
  const int before = served.service->Answers().at(0).generated_tokens;
  for (int i = 0; i < 8; ++i) EXPECT_TRUE(answer->Next(kLong).has_value());
  EXPECT_TRUE(Eventually([&] {
    const std::vector<AnswerInfo> answers = served.service->Answers();
    return answers.at(0).generated_tokens > before;
  }));
  ReadAll(*answer);
}

TEST(AnswersTest, StatsSayHowMuchTheTierBelowHolds) {
  EXPECT_EQ(Serve(SmallRig()).service->Stats().cold_budget_bytes, 0u);
  RigOptions rig = SmallRig();
  kv::TierOptions tier;
  tier.capacity_bytes = 32 * kMiB;
  rig.engine.cold = kv::MakeTier("memory", tier).value();
  const Served served = Serve(std::move(rig));
  const uint64_t budget = served.service->Stats().cold_budget_bytes;
  EXPECT_GT(budget, 31 * kMiB);
  EXPECT_LE(budget, 32 * kMiB);
}

}  // namespace
}  // namespace nosa::engine
