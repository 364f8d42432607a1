// Answers do not depend on company: sequences of different lengths together give what each gives alone.
#include "tests/parity/engine_test_util.h"

namespace nosa::engine {
namespace {

std::vector<Request> MixedRequests() {
  std::vector<Request> requests;
  const std::vector<int> lengths = {1, 63, 64, 65, 513, 1200, 31};
  for (size_t i = 0; i < lengths.size(); ++i) {
    Request request = {
        .prompt = RandomPrompt(lengths[i], i), .max_tokens = 12 + 5 * static_cast<int>(i), .ignore_eos = true};
    if (i % 2 == 1) request.sampling = {.temperature = 0.9f, .top_k = 50, .top_p = 0.95f, .seed = i};
    requests.push_back(std::move(request));
  }
  return requests;
}

class BatchTest : public testing::TestWithParam<std::string> {};

TEST_P(BatchTest, TogetherAsAlone) {
  if (const std::string why = WhyNot(GetParam()); !why.empty()) GTEST_SKIP() << why;
  const auto make = [] {
    RigOptions options;
    options.backend = GetParam();
    return MakeRig(std::move(options));
  };
  const Rig alone = make();
  std::vector<Outcome> expected;
  for (Request& request : MixedRequests()) expected.push_back(RunRequest(*alone.engine, std::move(request)));

  const Rig rig = make();
  std::vector<RequestId> ids;
  std::vector<Event> events;
  // They join at different times: one every third step.
  std::vector<Request> waiting = MixedRequests();
  for (size_t step = 0, next = 0; next < waiting.size() || rig.engine->HasWork(); ++step) {
    if (next < waiting.size() && step % 3 == 0) ids.push_back(*rig.engine->Submit(waiting[next++]));
    ASSERT_TRUE(rig.engine->Step(&events).ok());
  }
  for (size_t i = 0; i < ids.size(); ++i) {
    EXPECT_EQ(rig.engine->result(ids[i]).ids, expected[i].result.ids) << "request " << i;
    EXPECT_EQ(rig.engine->result(ids[i]).fingerprint, expected[i].result.fingerprint) << "request " << i;
    rig.engine->Release(ids[i]);
  }
}

INSTANTIATE_TEST_SUITE_P(Backends, BatchTest, testing::Values("cpu", "cuda"),
                         [](const auto& info) { return info.param; });

TEST(Batch, CancellingOneLeavesTheOthersAlone) {
  const Rig alone = MakeRig({});
  const Request kept = {.prompt = RandomPrompt(300, 1), .max_tokens = 20, .ignore_eos = true};
  const Outcome expected = RunRequest(*alone.engine, kept);

  const Rig rig = MakeRig({});
  const RequestId keep = *rig.engine->Submit(kept);
  const RequestId drop = *rig.engine->Submit({.prompt = RandomPrompt(2000, 2), .max_tokens = 50, .ignore_eos = true});
  std::vector<Event> events;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(rig.engine->Step(&events).ok());
  const uint64_t before = rig.engine->store().host_used_bytes();
  rig.engine->Cancel(drop);
  ASSERT_TRUE(rig.engine->Step(&events).ok());
  EXPECT_EQ(rig.engine->result(drop).reason, FinishReason::kCancelled);
  EXPECT_LT(rig.engine->store().host_used_bytes(), before) << "its blocks are free within one step";
  RunAll(*rig.engine);
  EXPECT_EQ(rig.engine->result(keep).ids, expected.result.ids);
  EXPECT_EQ(rig.engine->result(keep).fingerprint, expected.result.fingerprint);
}

TEST(Submit, RefusesWhatCannotBeAnswered) {
  const Rig rig = MakeRig({});
  EXPECT_EQ(rig.engine->Submit({.prompt = {}}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(rig.engine->Submit({.prompt = {1, 9000}}).status().message()),
              testing::AllOf(testing::HasSubstr("9000"), testing::HasSubstr("8192")));
  EXPECT_THAT(std::string(rig.engine->Submit({.prompt = std::vector<TokenId>(40000, 5)}).status().message()),
              testing::HasSubstr("32768"));
  EXPECT_FALSE(rig.engine->Submit({.prompt = {5}, .stop = {"x"}}).ok()) << "stop strings need a tokenizer";
}

}  // namespace
}  // namespace nosa::engine
