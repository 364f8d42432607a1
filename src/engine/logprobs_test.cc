#include "engine/logprobs.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/rng.h"

namespace nosa::engine {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();

TEST(LogprobsTest, AreThoseOfTheSoftmax) {
  for (uint64_t seed = 0; seed < 50; ++seed) {
    const Philox rng(seed, 12);
    std::vector<float> logits;
    // Rounded, so that some are alike.
    for (uint64_t i = 0; i < 1 + seed * 7; ++i) logits.push_back(std::round(8 * rng.Normal(i)) / 2);
    long double sum = 0;
    for (const float logit : logits) sum += std::exp(static_cast<long double>(logit));
    std::vector<size_t> order(logits.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return logits[a] > logits[b]; });
    for (const int top : {0, 1, 5, 1000}) {
      const auto token = static_cast<TokenId>(seed % logits.size());
      const PositionLogprobs of = LogprobsOf(logits, token, top);
      const auto expected = [&](size_t i) { return static_cast<double>(logits[i] - std::log(sum)); };
      EXPECT_EQ(of.token.id, token);
      EXPECT_NEAR(of.token.logprob, expected(static_cast<size_t>(token)), 1e-5);
      ASSERT_EQ(of.top.size(), std::min(static_cast<size_t>(top), logits.size()));
      for (size_t i = 0; i < of.top.size(); ++i) {
        EXPECT_EQ(of.top[i].id, static_cast<TokenId>(order[i])) << "ties by rising id";
        EXPECT_NEAR(of.top[i].logprob, expected(order[i]), 1e-5);
      }
    }
  }
}

TEST(LogprobsTest, BrokenAndHugeLogitsStayApart) {
  const float most = std::numeric_limits<float>::max();
  const PositionLogprobs broken = LogprobsOf(std::vector<float>{kInf, 1, std::nanf(""), 1}, 0, 4);
  EXPECT_EQ(broken.token.logprob, -kInf);
  ASSERT_EQ(broken.top.size(), 2u);
  EXPECT_NEAR(broken.top[1].logprob, std::log(0.5), 1e-6);
  EXPECT_EQ(LogprobsOf(std::vector<float>{most, -most}, 0, 0).token.logprob, 0);
}

TEST(LogprobsTest, APromptsRowsSpeakOfTheNextToken) {
  const std::vector<TokenId> prompt = {2, 0, 1, 2};
  std::vector<float> logits(4 * 3);
  for (size_t i = 0; i < logits.size(); ++i) logits[i] = static_cast<float>(i * i % 5);
  const auto rows = [&](int64_t first, int64_t n) {
    return ConstTensorView(&logits[static_cast<size_t>(first) * 3], DType::kF32, {n, 3});
  };
  std::vector<PositionLogprobs> all = PromptLogprobsOf(rows(0, 2), 0, prompt, 1);
  ASSERT_EQ(all.size(), 3u);
  for (const PositionLogprobs& p : PromptLogprobsOf(rows(2, 2), 2, prompt, 1)) all.push_back(p);
  ASSERT_EQ(all.size(), prompt.size()) << "the last row speaks of what is not there yet";
  EXPECT_TRUE(std::isnan(all[0].token.logprob));
  EXPECT_TRUE(all[0].top.empty());
  for (size_t i = 0; i < prompt.size(); ++i) EXPECT_EQ(all[i].token.id, prompt[i]);
  for (size_t i = 1; i < prompt.size(); ++i) {
    const PositionLogprobs of = LogprobsOf({rows(static_cast<int64_t>(i) - 1, 1).row<float>(0), 3}, prompt[i], 1);
    EXPECT_EQ(all[i].token.logprob, of.token.logprob);
    EXPECT_EQ(all[i].top[0].id, of.top[0].id);
  }
}

}  // namespace
}  // namespace nosa::engine
