// Many requests of mixed lengths together, under a KV budget of a quarter of what they hold, against each alone.
#pragma once

#include <cmath>
#include <thread>
#include <vector>

#include "tests/service/service_test_util.h"

namespace nosa::engine {

// `requests` prompts, their lengths spread evenly in the logarithm from `shortest` to `longest` tokens, in a mixed
// order.
inline std::vector<Request> Company(int requests, int shortest, int longest, int answer) {
  std::vector<Request> company;
  for (int i = 0; i < requests; ++i) {
    const int place = i * 37 % requests;  // 37 has no divisor in common with the numbers used
    const double share = static_cast<double>(place) / (requests - 1);
    const int tokens =
        static_cast<int>(std::lround(shortest * std::pow(static_cast<double>(longest) / shortest, share)));
    company.push_back(
        {.prompt = RandomPrompt(tokens, static_cast<uint64_t>(i)), .max_tokens = answer, .ignore_eos = true});
  }
  return company;
}

inline void ExpectTogetherAsAlone(const std::vector<Request>& company) {
  std::vector<std::vector<TokenId>> expected;
  uint64_t total = 0;
  {
    const Rig alone = MakeRig({});
    for (const Request& request : company) {
      expected.push_back(RunRequest(*alone.engine, request).result.ids);
      total += alone.engine->Charge(request).host;
    }
  }
  RigOptions rig;
  rig.engine.host_budget_bytes = total / 4;
  auto cold = kv::MakeTier("disk", {.location = testing::TempDir(), .capacity_bytes = 2 * total});
  ASSERT_TRUE(cold.ok()) << cold.status().ToString();
  rig.engine.cold = std::move(cold).value();
  // Nobody reads until everybody that has room is held up by that: so all of it is held at once.
  const Served served = Serve(std::move(rig), {.scheduler = {.max_unread_events = 4, .stalled_seconds = 36000}});
  std::vector<std::unique_ptr<Answer>> answers;
  for (const Request& request : company) answers.push_back(MustSubmit(*served.service, {.request = request}));
  ServiceStats held;
  do {
    std::this_thread::sleep_for(milliseconds(10));
    held = served.service->Stats();
  } while (held.paused == 0 || held.paused < held.reading + held.answering);
  EXPECT_GT(held.answering, static_cast<int>(company.size()) / 2);
  std::vector<Heard> heard(company.size());
  std::vector<std::thread> readers;
  for (size_t i = 0; i < answers.size(); ++i) {
    readers.emplace_back([&, i] { heard[i] = ReadAll(*answers[i], std::chrono::hours(1)); });
  }
  for (std::thread& reader : readers) reader.join();
  for (size_t i = 0; i < answers.size(); ++i) {
    EXPECT_EQ(heard[i].ids, expected[i]) << "request " << i << " of " << company[i].prompt.size() << " tokens";
    EXPECT_EQ(heard[i].last.reason, FinishReason::kLength) << heard[i].last.error.ToString();
  }
  const ServiceStats stats = served.service->Stats();
  EXPECT_EQ(stats.host_budget_bytes, total / 4);
  EXPECT_LE(stats.engine.kv.host_peak_bytes, total / 4);
  EXPECT_GT(stats.engine.kv.blocks_fetched, 0u) << "nothing had to move";
}

}  // namespace nosa::engine
