// Each of the scheduler's rules alone; all together in scheduler_simulation_test.cc.
#include "engine/scheduler.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "base/rng.h"

namespace nosa::engine {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Ids = std::vector<uint64_t>;

constexpr kv::TierBytes kRoom = {1000, 1000};

ScheduledRequest Of(uint64_t id, int prompt, int answer, uint64_t bytes = 1, const std::string& tenant = "") {
  return {.id = id, .tenant = tenant, .prompt_tokens = prompt, .max_tokens = answer, .bytes = {bytes, 0}};
}

void Take(Scheduler& scheduler, const ScheduledRequest& request, double now = 0) {
  const std::optional<Refusal> refusal = scheduler.Submit(request, now);
  EXPECT_FALSE(refusal) << refusal->status.ToString();
}

TEST(SchedulerTest, AdmitsWhatFitsAndTheRestWhenThereIsRoom) {
  Scheduler scheduler({}, kRoom);
  for (const uint64_t id : {1, 2, 3}) Take(scheduler, Of(id, 10, 10, 400));
  EXPECT_THAT(scheduler.Plan(0).admit, ElementsAre(1, 2));
  EXPECT_TRUE(scheduler.Waits(3));
  EXPECT_THAT(scheduler.Plan(0).admit, IsEmpty());
  scheduler.Finished(1);
  EXPECT_THAT(scheduler.Plan(0).admit, ElementsAre(3));
  EXPECT_EQ(scheduler.counts().reserved.host, 800u);
}

TEST(SchedulerTest, EveryTierCounts) {
  Scheduler scheduler({}, {1000, 100});
  ScheduledRequest cold = Of(1, 10, 10);
  cold.bytes = {1, 60};
  Take(scheduler, cold);
  cold.id = 2;
  Take(scheduler, cold);
  EXPECT_THAT(scheduler.Plan(0).admit, ElementsAre(1));
  cold.id = 3;
  cold.bytes = {1, 101};
  const std::optional<Refusal> refusal = scheduler.Submit(cold, 0);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->cause, Refusal::Cause::kTooLarge);
  EXPECT_EQ(refusal->status.code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refusal->status.message()),
              HasSubstr("KV of 20 tokens needs 1 B of RAM and 101 B below it, the room for KV is 1000 B and 100 B"));
}

TEST(SchedulerTest, SmallOnesOvertakeALargeOneOnlySoOften) {
  Scheduler scheduler({.max_overtakes = 2}, kRoom);
  Take(scheduler, Of(1, 10, 10, 600));
  EXPECT_THAT(scheduler.Plan(0).admit, ElementsAre(1));
  Take(scheduler, Of(2, 10, 10, 900, "large"));
  for (uint64_t id = 3; id < 10; ++id) Take(scheduler, Of(id, 10, 10, 100, "small"));
  EXPECT_THAT(scheduler.Plan(0).admit, ElementsAre(3, 4));
  scheduler.Finished(3);
  EXPECT_THAT(scheduler.Plan(0).admit, IsEmpty()) << "room is kept";
  scheduler.Finished(1);
  EXPECT_THAT(scheduler.Plan(0).admit, ElementsAre(2));
}

TEST(SchedulerTest, LimitsOfOneTenantRefuseAndSayWhen) {
  SchedulerOptions options;
  options.tenants["a"] = {.max_requests = 2, .requests_per_minute = 6};
  options.tenants["b"] = {.tokens_per_minute = 600};
  Scheduler scheduler(options, kRoom);
  Take(scheduler, Of(1, 10, 10, 1, "a"));
  Take(scheduler, Of(2, 10, 10, 1, "a"));
  std::optional<Refusal> refusal = scheduler.Submit(Of(3, 10, 10, 1, "a"), 0);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->cause, Refusal::Cause::kConcurrency);
  EXPECT_EQ(refusal->status.message(), "2 requests at once are allowed, 2 wait or run");
  for (uint64_t id = 1; id < 7; ++id) {
    if (id > 2) Take(scheduler, Of(id, 10, 10, 1, "a"));
    scheduler.Plan(0);
    scheduler.Finished(id);
  }
  refusal = scheduler.Submit(Of(7, 10, 10, 1, "a"), 2.5);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->cause, Refusal::Cause::kRateLimit);
  EXPECT_EQ(refusal->retry_after->count(), 7500) << "one every ten seconds, after a minute's worth at once";
  Take(scheduler, Of(7, 10, 10, 1, "a"), 10);

  Take(scheduler, Of(20, 300, 300, 1, "b"));
  refusal = scheduler.Submit(Of(21, 50, 50, 1, "b"), 0);
  ASSERT_TRUE(refusal);
  EXPECT_EQ(refusal->status.message(), "600 tokens a minute are allowed, 0 are left and the request may take 100");
  EXPECT_EQ(refusal->retry_after->count(), 10000);
  scheduler.Plan(0);
  scheduler.PromptRead(20, 300);
  scheduler.Finished(20);
  Take(scheduler, Of(21, 50, 50, 1, "b"));  // of max_tokens nothing came, which is given back
  refusal = scheduler.Submit(Of(22, 5000, 50, 1, "b"), 0);
  EXPECT_EQ(refusal->retry_after->count(), 40000) << "more than a minute's worth: with a full bucket";
  Take(scheduler, Of(22, 5000, 50, 1, "b"), 40);
  Take(scheduler, Of(30, 5000, 50, 1, "c"));
}

TEST(SchedulerTest, AFullQueueSaysWhenItWillHaveMoved) {
  Scheduler scheduler({.max_running = 1, .max_queued = 5}, kRoom);
  Take(scheduler, Of(1, 10, 10), 100);
  scheduler.Plan(100);
  uint64_t next = 2;
  const auto refused = [&](double now) {
    while (scheduler.counts().queued < 5) Take(scheduler, Of(next++, 10, 10), now);
    const std::optional<Refusal> refusal = scheduler.Submit(Of(next, 10, 10), now);
    EXPECT_EQ(refusal->cause, Refusal::Cause::kQueueFull);
    return refusal->retry_after->count();
  };
  EXPECT_EQ(refused(200), 1000) << "nothing is known yet";
  uint64_t running = 1;
  for (int i = 1; i <= 8; ++i) {  // one every four seconds
    scheduler.Finished(running);
    running = scheduler.Plan(200 + 4 * i).admit.at(0);
    EXPECT_EQ(refused(200 + 4 * i), 3 * 4000);
  }
  EXPECT_EQ(refused(264), 3 * 8000) << "none has begun for half the time";
  EXPECT_EQ(refused(1e6), 60000);
}

TEST(SchedulerTest, ASlowReaderPausesItsRequestUntilHalfIsRead) {
  Scheduler scheduler({.max_unread_events = 4, .max_unread_bytes = 1000, .stalled_seconds = 3}, kRoom);
  Take(scheduler, Of(1, 10, 100));
  scheduler.Plan(0);
  scheduler.PromptRead(1, 10);
  scheduler.SetUnread(1, 3, 999, 0);
  EXPECT_THAT(scheduler.Plan(0).pause, IsEmpty());
  scheduler.SetUnread(1, 4, 0, 0);
  StepPlan plan = scheduler.Plan(0);
  EXPECT_THAT(plan.pause, ElementsAre(1));
  EXPECT_FALSE(plan.step);
  EXPECT_EQ(plan.wake_at, 3);
  scheduler.SetUnread(1, 3, 0, 2);
  EXPECT_THAT(scheduler.Plan(2).resume, IsEmpty());
  scheduler.SetUnread(1, 2, 0, 2.5);
  plan = scheduler.Plan(2.5);
  EXPECT_THAT(plan.resume, ElementsAre(1));
  EXPECT_TRUE(plan.step);
  scheduler.SetUnread(1, 1, 1000, 2.5);
  EXPECT_THAT(scheduler.Plan(4).pause, ElementsAre(1)) << "by bytes";
  plan = scheduler.Plan(7.5);
  ASSERT_EQ(plan.end.size(), 1u);
  EXPECT_EQ(plan.end[0].cause, EndCause::kStalledReader);
}

TEST(SchedulerTest, TheShortestRestIsReadFirstAndNobodyStarves) {
  Scheduler scheduler({}, kRoom);
  Take(scheduler, Of(1, 1000, 1));
  EXPECT_EQ(scheduler.Plan(0).prompt, 1u);
  scheduler.PromptRead(1, 100);
  uint64_t id = 1;
  int read = 0;
  for (uint64_t next = 0; next != 1; read += next == 1 ? 0 : 100) {
    Take(scheduler, Of(++id, 100, 1));
    next = scheduler.Plan(0).prompt;
    ASSERT_LT(id, 100u) << "starved";
    if (next == 1) break;
    EXPECT_EQ(next, id);
    scheduler.PromptRead(id, 100);
  }
  EXPECT_NEAR(read, 2 * (900 - 100), 100) << "when half of what was read since makes up for the difference";
}

TEST(SchedulerTest, StepsBetweenChunksKeepTheMeanLatency) {
  const auto between = [](double target_ms, double chunk, double decode) {
    Scheduler scheduler({.step_ms_target = target_ms}, kRoom);
    scheduler.StepTook(decode, false, true);
    scheduler.StepTook(chunk + decode, true, true);
    return scheduler.StepsBetweenChunks();
  };
  EXPECT_EQ(between(0, 0.5, 0.01), 0);
  EXPECT_EQ(between(100, 0.05, 0.01), 0) << "it is kept to already";
  EXPECT_EQ(between(100, 0.45, 0.01), 4) << "five tokens in 0.45 + 5 * 0.01 seconds";
  EXPECT_EQ(between(100, 0.45, 0.09), 5) << "it cannot be: half of the time stays with the prompts";
  EXPECT_EQ(between(100, 0.45, 0.2), 2);
  EXPECT_EQ(between(2, 10, 0.001), 64);
  Scheduler scheduler({.step_ms_target = 100}, kRoom);
  Take(scheduler, Of(1, 10, 100));
  Take(scheduler, Of(2, 1000, 100));
  EXPECT_EQ(scheduler.Plan(0).prompt, 1u);
  scheduler.PromptRead(1, 10);
  scheduler.StepTook(0.01, false, true);
  scheduler.StepTook(0.46, true, true);
  for (int i = 0; i < 4; ++i) {
    EXPECT_EQ(scheduler.Plan(0).prompt, 0u);
    scheduler.StepTook(0.01, false, true);
  }
  EXPECT_EQ(scheduler.Plan(0).prompt, 2u);
}

TEST(SchedulerTest, WhoeverFailsToBeAdmittedComesFirstAgain) {
  Scheduler scheduler({}, kRoom);
  for (const uint64_t id : {1, 2, 3}) Take(scheduler, Of(id, 10, 10));
  EXPECT_THAT(scheduler.Plan(0).admit, ElementsAre(1, 2, 3));
  EXPECT_TRUE(scheduler.AdmissionFailed(3));
  EXPECT_TRUE(scheduler.AdmissionFailed(2));
  EXPECT_THAT(scheduler.Plan(0).admit, IsEmpty());
  scheduler.Finished(1);
  EXPECT_THAT(scheduler.Plan(0).admit, ElementsAre(2, 3));
  EXPECT_TRUE(scheduler.AdmissionFailed(3));
  EXPECT_FALSE(scheduler.AdmissionFailed(2)) << "nobody holds anything that it could wait for";
  EXPECT_THAT(scheduler.Plan(0).admit, ElementsAre(3));
}

// Serves one token of everybody and a chunk a step; counts what each tenant got, in prompt tokens. Backlogged: more
// wait than a plan can admit.
class FairnessTest : public testing::Test {
 protected:
  void Add(const std::string& tenant) {
    // Each kind of service by itself would be shared otherwise.
    const bool talks = tenant == "drip";
    const int prompt = 1 + static_cast<int>(rng_.Block(++next_)[0] % (talks ? 30 : 300));
    const int answer = 1 + static_cast<int>(rng_.Block(next_)[1] % (talks ? 50 : 5));
    const uint64_t bytes = 50 + rng_.Block(next_)[2] % 400;
    const ScheduledRequest request = Of(next_, prompt, answer, bytes, tenant);
    Take(scheduler_, request);
    requests_[next_] = {request, 0, 0};
    ++waiting_[tenant];
  }

  void Step() {
    const StepPlan plan = scheduler_.Plan(0);
    for (const uint64_t id : plan.admit) --waiting_[requests_.at(id).request.tenant];
    Ids finished;
    for (auto& [id, r] : requests_) {
      if (r.read < r.request.prompt_tokens) continue;
      scheduler_.Generated(id);
      service_[r.request.tenant] += 2;
      if (++r.generated == r.request.max_tokens) finished.push_back(id);
    }
    if (plan.prompt != 0) {
      auto& r = requests_.at(plan.prompt);
      const int done = std::min(r.read + 64, r.request.prompt_tokens);
      service_[r.request.tenant] += done - r.read;
      scheduler_.PromptRead(plan.prompt, r.read = done);
    }
    for (const uint64_t id : finished) {
      scheduler_.Finished(id);
      requests_.erase(id);
    }
  }

  struct Served {
    ScheduledRequest request;
    int read = 0, generated = 0;
  };
  static SchedulerOptions Options() {
    SchedulerOptions options;
    options.max_running = 4;
    options.max_queued = 100000;
    options.tenants["double"].weight = 2;
    return options;
  }
  // What four running requests and the overtaking ones may be ahead by, on both sides (the bound of virtual token
  // counters, with room for overtaking).
  static constexpr double kBound = 2 * (4 + 16) * (300 + 2 * 50);

  Scheduler scheduler_{Options(), kRoom};
  std::map<uint64_t, Served> requests_;
  std::map<std::string, int> waiting_;
  std::map<std::string, double> service_;
  Philox rng_{4};
  uint64_t next_ = 0;
};

TEST_F(FairnessTest, BackloggedTenantsShareByTheirWeights) {
  for (int step = 0; step < 40000; ++step) {
    while (waiting_["flood"] < 100) Add("flood");
    while (waiting_["drip"] < 5) Add("drip");
    while (waiting_["double"] < 5) Add("double");
    Step();
    ASSERT_LE(std::abs(service_["flood"] - service_["drip"]), kBound) << "after " << step;
    ASSERT_LE(std::abs(service_["double"] / 2 - service_["drip"]), kBound) << "after " << step;
  }
  EXPECT_GT(service_["drip"], 10 * kBound) << "the bound says nothing about so little";
}

TEST_F(FairnessTest, WhoWasAwayHasSavedNothingUp) {
  Add("away");
  for (int step = 0; step < 10000; ++step) {
    while (waiting_["flood"] < 100) Add("flood");
    Step();
  }
  const double flood = service_["flood"], away = service_["away"];
  ASSERT_GT(flood, 10 * kBound);
  for (int step = 0; step < 10000; ++step) {
    while (waiting_["flood"] < 100) Add("flood");
    while (waiting_["away"] < 5) Add("away");
    Step();
    ASSERT_LE(std::abs(service_["flood"] - flood - service_["away"] + away), kBound) << "after " << step;
  }
}

TEST(SchedulerTest, TenantsThatLeaveAreForgotten) {
  SchedulerOptions options;
  options.limits = {.requests_per_minute = 60};
  Scheduler scheduler(options, kRoom);
  for (uint64_t id = 1; id <= 10000; ++id) {
    const double now = static_cast<double>(id);
    Take(scheduler, Of(id, 10, 10, 1, "tenant " + std::to_string(id)), now);
    scheduler.Plan(now);
    scheduler.Finished(id);
  }
  EXPECT_LT(scheduler.counts().tenants, 400u);
}

}  // namespace
}  // namespace nosa::engine
