// Everything at once: threads that submit, stop, dawdle and leave, a budget that holds a few of many, a disk that goes
// wrong. Who hears to the end hears what it would hear alone, and nothing is left.
#include <atomic>
#include <thread>

#include "base/log.h"
#include "tests/conformance/kv/faulty_tier.h"
#include "tests/service/service_test_util.h"

namespace nosa::engine {
namespace {

constexpr int kRequests = 60, kThreads = 6;

Request RequestOf(uint64_t i) {
  const Philox rng(i, 3);
  Request request = {.prompt = SmallPrompt(1 + static_cast<int>(rng.Block(0)[0] % 700), i),
                     .max_tokens = static_cast<int>(rng.Block(1)[0] % 30),
                     .ignore_eos = true};
  if (rng.Uniform(2) < 0.3f) {
    request.sampling = {
        .temperature = 1, .logit_bias = {{7, 3}}, .presence_penalty = 1, .frequency_penalty = 0.5f, .seed = i};
  }
  return request;
}

// The smallest budget that holds three of the largest, over a tier.
RigOptions Tight(std::unique_ptr<kv::Tier> cold) {
  const auto memory = [] { return kv::MakeTier("memory", {.location = "", .capacity_bytes = 64 * kMiB}).value(); };
  RigOptions probe = SmallRig();
  probe.engine.cold = memory();
  const Rig rig = MakeRig(std::move(probe));
  const std::vector<kv::SequenceNeeds> needs(3, rig.model->SequenceNeeds(730));
  RigOptions options = SmallRig();
  options.engine.host_budget_bytes = rig.engine->store().SmallestBudget(needs);
  options.engine.cold = cold != nullptr ? std::move(cold) : memory();
  return options;
}

class HostileTest : public testing::TestWithParam<bool> {};

TEST_P(HostileTest, EveryRequestEndsRightAndNothingIsLeft) {
  const bool faults = GetParam();
  SetLogLevel(LogLevel::kError);  // a line for every damaged block
  std::vector<std::vector<TokenId>> expected;
  {
    const Rig alone = MakeRig(SmallRig());
    for (uint64_t i = 0; i < kRequests; ++i) expected.push_back(RunRequest(*alone.engine, RequestOf(i)).result.ids);
  }
  std::unique_ptr<kv::Tier> cold;
  if (faults) {
    cold = std::make_unique<kv::FaultyTier>(
        kv::MakeTier("memory", {.location = "", .capacity_bytes = 64 * kMiB}).value(), 5,
        kv::FaultPlan{
            .fail_read = 0.0003, .fail_write = 0.0005, .corrupt_read = 0.002, .corrupt_write = 0.002, .delay = 0.2});
  }
  ServiceOptions options;
  options.scheduler = {.max_queued = 1000, .max_unread_events = 6};
  const Served served = Serve(Tight(std::move(cold)), std::move(options));
  const uint64_t before = served.service->Stats().host_used_bytes;

  std::atomic<uint64_t> next = 0;
  std::atomic<int> whole = 0, failed = 0, left = 0;
  const auto visit = [&](uint64_t i) {
    const Philox rng(i, 8);
    const float mood = rng.Uniform(0);
    ServiceRequest request = {.request = RequestOf(i), .tenant = std::to_string(i % 4)};
    const std::unique_ptr<Answer> answer = MustSubmit(*served.service, request);
    if (mood < 0.1f) {
      ++left;
      return;  // at once
    }
    std::vector<TokenId> ids;
    const size_t enough = mood < 0.25f ? rng.Block(1)[0] % 10 : SIZE_MAX;
    for (;;) {
      const std::optional<AnswerEvent> event = answer->Next(kLong);
      ASSERT_TRUE(event);
      if (mood > 0.8f) std::this_thread::sleep_for(milliseconds(2));
      if (event->kind == AnswerEvent::Kind::kToken) ids.push_back(event->token);
      if (ids.size() > enough) answer->Cancel();
      if (event->kind != AnswerEvent::Kind::kFinished) continue;
      if (event->reason == FinishReason::kLength) {
        EXPECT_EQ(ids, expected[i]) << "request " << i;
        ++whole;
      } else if (event->reason == FinishReason::kError) {
        EXPECT_TRUE(faults) << event->error.ToString();
        ++failed;
      } else {
        EXPECT_EQ(event->reason, FinishReason::kCancelled);
        EXPECT_GT(ids.size(), enough);
        ++left;
      }
      return;
    }
  };
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&] {
      for (uint64_t i = next++; i < kRequests; i = next++) visit(i);
    });
  }
  std::atomic<bool> over = false;
  threads.emplace_back([&] {
    while (!over) {
      const ServiceStats stats = served.service->Stats();
      EXPECT_LE(stats.host_used_bytes, stats.host_budget_bytes);
      served.service->Map(next.load());
    }
  });
  for (int t = 0; t < kThreads; ++t) threads[static_cast<size_t>(t)].join();
  over = true;
  threads.back().join();
  served.service->Drain(kLong);
  const ServiceStats stats = served.service->Stats();
  EXPECT_EQ(whole + failed + left, kRequests);
  EXPECT_GT(whole, kRequests / 2);
  EXPECT_EQ(stats.finished + stats.failed + stats.cancelled, static_cast<uint64_t>(kRequests));
  EXPECT_EQ(stats.failed, static_cast<uint64_t>(failed));
  EXPECT_EQ(stats.host_used_bytes, before);
  EXPECT_EQ(stats.cold_bytes, 0u);
  EXPECT_GT(stats.engine.kv.blocks_fetched, 0u) << "the budget was no matter";
  SetLogLevel(LogLevel::kInfo);
  if (faults) {
    EXPECT_GT(stats.engine.recomputed_blocks, 0u);
  }
}

INSTANTIATE_TEST_SUITE_P(Tiers, HostileTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Faulty" : "Sound"; });

}  // namespace
}  // namespace nosa::engine
