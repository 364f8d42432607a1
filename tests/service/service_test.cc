// The service with the real engine: what readers are told, and what is left when they go.
#include <atomic>
#include <cmath>
#include <thread>

#include "tests/service/service_test_util.h"

namespace nosa::engine {
namespace {

ServiceRequest Ask(int prompt, int answer, uint64_t stream) {
  ServiceRequest request;
  request.request = {.prompt = SmallPrompt(prompt, stream), .max_tokens = answer, .ignore_eos = true};
  return request;
}

// Of the same requests, one after the other, straight from an engine.
std::vector<std::vector<TokenId>> Alone(const std::vector<ServiceRequest>& requests) {
  const Rig rig = MakeRig(SmallRig());
  std::vector<std::vector<TokenId>> answers;
  for (const ServiceRequest& request : requests) answers.push_back(RunRequest(*rig.engine, request.request).result.ids);
  return answers;
}

TEST(ServiceTest, ManyThreadsGetWhatEachWouldGetAlone) {
  std::vector<ServiceRequest> requests;
  for (uint64_t i = 0; i < 24; ++i) {
    requests.push_back(Ask(1 + static_cast<int>(37 * i % 300), 3 + static_cast<int>(i % 9), i));
    requests.back().tenant = "tenant " + std::to_string(i % 3);
    if (i % 4 == 1) requests.back().request.sampling = {.temperature = 0.8f, .top_k = 40, .seed = i};
  }
  const std::vector<std::vector<TokenId>> expected = Alone(requests);
  const Served served = Serve(SmallRig());
  const uint64_t before = served.service->Stats().host_used_bytes;
  std::vector<Heard> heard(requests.size());
  std::vector<std::thread> threads;
  std::atomic<size_t> next = 0;
  for (int t = 0; t < 6; ++t) {
    threads.emplace_back([&] {
      for (size_t i = next++; i < requests.size(); i = next++) {
        const std::unique_ptr<Answer> answer = MustSubmit(*served.service, requests[i]);
        heard[i] = ReadAll(*answer);
        EXPECT_FALSE(answer->Next(kLong)) << "after the end there is nothing, at once";
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  for (size_t i = 0; i < requests.size(); ++i) {
    EXPECT_EQ(heard[i].ids, expected[i]) << "request " << i;
    EXPECT_EQ(heard[i].last.reason, FinishReason::kLength);
    EXPECT_EQ(heard[i].last.usage.prompt_tokens, static_cast<int>(requests[i].request.prompt.size()));
    EXPECT_EQ(heard[i].last.usage.generated_tokens, requests[i].request.max_tokens);
  }
  const ServiceStats stats = served.service->Stats();
  EXPECT_EQ(stats.requests, requests.size());
  EXPECT_EQ(stats.finished, requests.size());
  EXPECT_EQ(stats.host_used_bytes, before) << "every block was given back";
}

}  // namespace
}  // namespace nosa::engine
