// The whole sampler: its distributions against exact ones, and what must not depend on what.
#include "engine/sampling.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <map>
#include <set>

#include "backend/cpu/cpu_backend.h"
#include "base/rng.h"
#include "engine/sampling_twin_test_util.h"

namespace nosa::engine {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
constexpr int kDraws = 20000;

std::vector<float> RandomLogits(int n, uint64_t seed, float spread) {
  std::vector<float> logits;
  for (int i = 0; i < n; ++i) logits.push_back(spread * Philox(seed, 77).Normal(static_cast<uint64_t>(i)));
  return logits;
}

// Above this the sum of squares is that of other probabilities; chance gets there once in 10,000 tests
// (Wilson and Hilferty's cube-root approximation).
double ChiSquareLimit(int freedom) {
  const double k = freedom, c = 2.0 / (9.0 * k);
  return k * std::pow(1 - c + 3.719 * std::sqrt(c), 3);
}

class SamplerTest : public testing::Test {
 protected:
  TokenId Draw(std::span<const float> logits, const SamplingParams& params, TokenPos pos = 0) {
    return sampler_.Sample(logits, params, {context_, generated_}, pos);
  }

  // Draws at kDraws positions have the twin's distribution: the same support, and no more deviation than chance has.
  void ExpectTwin(std::span<const float> logits, const SamplingParams& params) {
    ASSERT_TRUE(params.Validate().ok());
    const std::vector<double> expected = TwinProbabilities(logits, params, {context_, generated_});
    std::vector<int> seen(logits.size());
    for (int pos = 0; pos < kDraws; ++pos) ++seen[static_cast<size_t>(Draw(logits, params, pos))];
    double chi_square = 0, rest_expected = 0, rest_seen = 0;
    int cells = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      if (expected[i] == 0) {
        EXPECT_EQ(seen[i], 0) << "token " << i << " was dropped";
      }
      const double mean = expected[i] * kDraws;
      if (mean < 10) {  // too few for the square's distribution: counted together
        rest_expected += mean;
        rest_seen += seen[i];
        continue;
      }
      chi_square += (seen[i] - mean) * (seen[i] - mean) / mean;
      ++cells;
    }
    if (rest_expected >= 10) {
      chi_square += (rest_seen - rest_expected) * (rest_seen - rest_expected) / rest_expected;
      ++cells;
    }
    if (cells > 1) {
      EXPECT_LT(chi_square, ChiSquareLimit(cells - 1)) << cells << " cells";
    }
  }

  std::unique_ptr<ops::Backend> backend_ = cpu::MakeCpuBackend(1);
  Sampler sampler_{backend_.get()};
  std::vector<TokenId> context_;
  size_t generated_ = 0;
};

TEST_F(SamplerTest, GreedyTakesTheLargestAndTheLowestOfEquals) {
  EXPECT_EQ(Draw(std::vector<float>{1, 3, 2}, {}), 1);
  EXPECT_EQ(Draw(std::vector<float>{1, 3, 3, 2}, {}), 1);
  EXPECT_EQ(Draw(std::vector<float>{-5}, {}), 0);
  EXPECT_EQ(Draw(std::vector<float>{-5, -4, -4}, {.repetition_penalty = 2}), 1) << "the other greedy path";
  EXPECT_EQ(Draw(std::vector<float>{1, 3, 2}, {.logit_bias = {{1, -100}}}), 2) << "which a bias takes, too";
  context_ = {1, 1};
  generated_ = 2;
  EXPECT_EQ(Draw(std::vector<float>{1, 3, 2}, {.presence_penalty = 1.5f}), 2);
  EXPECT_EQ(Draw(std::vector<float>{1, 3, 2}, {.frequency_penalty = 0.75f}), 2);
}

TEST_F(SamplerTest, PlainSoftmax) {
  ExpectTwin(std::vector<float>{0.5f, -1, 2, 0, 1.5f, -3, 1, 0.25f}, {.temperature = 1});
  ExpectTwin(std::vector<float>(16, 7.0f), {.temperature = 1});
}

TEST_F(SamplerTest, EveryMixOfStagesAndDraws) {
  for (uint64_t seed = 0; seed < 24; ++seed) {
    SCOPED_TRACE(seed);
    const Philox rng(seed, 5);
    SamplingParams params;
    params.temperature = 0.3f + 2 * rng.Uniform(0);
    if (rng.Uniform(1) < 0.6f) params.top_k = 1 + static_cast<int>(rng.Uniform(2) * 20);
    if (rng.Uniform(3) < 0.6f) params.top_p = 0.2f + 0.8f * rng.Uniform(4);
    if (rng.Uniform(5) < 0.6f) params.min_p = 0.4f * rng.Uniform(6);
    if (rng.Uniform(7) < 0.6f) params.repetition_penalty = 0.5f + 1.5f * rng.Uniform(8);
    if (rng.Uniform(9) < 0.6f) params.logit_bias = {{4, 4 * rng.Uniform(10) - 2}, {7, 1.5f}, {0, -100}};
    if (rng.Uniform(11) < 0.6f) params.presence_penalty = 4 * rng.Uniform(12) - 2;
    if (rng.Uniform(13) < 0.6f) params.frequency_penalty = 4 * rng.Uniform(14) - 2;
    params.seed = seed;
    context_ = {5, 1, 4, 4, 9};
    generated_ = 3;
    ExpectTwin(RandomLogits(16, seed, 1.5f), params);
  }
}

TEST_F(SamplerTest, ADrawIsAFunctionOfSeedAndPosition) {
  const std::vector<float> logits = RandomLogits(64, 3, 1);
  const SamplingParams params = {.temperature = 1, .seed = 9};
  std::vector<TokenId> once;
  for (int pos = 0; pos < 200; ++pos) once.push_back(Draw(logits, params, pos));
  Sampler other(backend_.get());
  for (int pos = 199; pos >= 0; --pos) {
    Draw(RandomLogits(8, 1, 1), {.temperature = 2, .top_k = 3}, pos);  // a neighbour in between
    EXPECT_EQ(Draw(logits, params, pos), once[static_cast<size_t>(pos)]);
    EXPECT_EQ(other.Sample(logits, params, {}, pos), once[static_cast<size_t>(pos)]);
  }
  int same = 0;
  for (int pos = 0; pos < 200; ++pos)
    same += Draw(logits, {.temperature = 1, .seed = 10}, pos) == once[static_cast<size_t>(pos)] ? 1 : 0;
  EXPECT_LT(same, 40) << "another seed draws otherwise";
}

TEST_F(SamplerTest, EdgeValues) {
  const std::vector<float> logits = RandomLogits(32, 8, 2);
  const TokenId best = Draw(logits, {});
  for (int pos = 0; pos < 200; ++pos) {
    EXPECT_EQ(Draw(logits, {.temperature = 1, .top_k = 1}, pos), best);
    EXPECT_EQ(Draw(logits, {.temperature = 1, .top_p = 1e-30f}, pos), best);
    EXPECT_EQ(Draw(logits, {.temperature = 1, .min_p = 1}, pos), best);
    EXPECT_EQ(Draw(logits, {.temperature = 1e-30f}, pos), best);
    EXPECT_EQ(Draw(logits, {.temperature = std::numeric_limits<float>::denorm_min()}, pos), best);
    EXPECT_EQ(Draw(logits, {.temperature = 1, .top_k = 1000}, pos), Draw(logits, {.temperature = 1, .top_k = 32}, pos));
    EXPECT_EQ(Draw(logits, {.temperature = 1, .top_k = 1000, .top_p = 1, .min_p = 0}, pos),
              Draw(logits, {.temperature = 1}, pos))
        << "what has nothing to do changes nothing";
  }
}

TEST_F(SamplerTest, BrokenLogitsNeverWin) {
  const std::vector<float> logits = {kNan, 1, kInf, 2, -kInf, kNan};
  for (const float temperature : {0.0f, 1.0f, 1e-20f}) {
    for (const float penalty : {1.0f, 1.1f}) {
      for (int pos = 0; pos < 100; ++pos) {
        const TokenId token = Draw(logits, {.temperature = temperature, .repetition_penalty = penalty}, pos);
        EXPECT_TRUE(token == 3 || (token == 1 && temperature == 1)) << token << " at temperature " << temperature;
      }
    }
  }
  for (const float temperature : {0.0f, 1.0f}) {
    EXPECT_EQ(Draw(std::vector<float>{kNan, kInf, -kInf}, {.temperature = temperature}), 0) << "nothing to draw from";
  }
}

TEST_F(SamplerTest, HugeLogitsStayNumbers) {
  const float most = std::numeric_limits<float>::max();
  for (int pos = 0; pos < 50; ++pos) {
    EXPECT_EQ(Draw(std::vector<float>{-most, most, 0}, {.temperature = 1}, pos), 1);
    EXPECT_EQ(Draw(std::vector<float>{-most, most, 0}, {.temperature = 0.01f, .top_p = 0.9f, .min_p = 0.1f}, pos), 1);
  }
  context_ = {0, 1};
  for (int pos = 0; pos < 50; ++pos) {
    const TokenId token =
        Draw(std::vector<float>{most, most, 0}, {.temperature = 1, .repetition_penalty = 1e-30f}, pos);
    EXPECT_LT(token, 2) << "a penalty that rewards beyond all bounds";
    EXPECT_EQ(Draw(std::vector<float>{-most, -most, 0}, {.temperature = 1, .repetition_penalty = 100}, pos), 2);
  }
}

TEST_F(SamplerTest, PenaltyCountsATokenOnceHoweverOftenItWasThere) {
  context_ = {1, 1, 1, 1};
  EXPECT_EQ(Draw(std::vector<float>{2.5f, 4}, {.repetition_penalty = 1.5f}), 1);
  EXPECT_EQ(Draw(std::vector<float>{2.7f, 4}, {.repetition_penalty = 1.5f}), 0);
  EXPECT_EQ(Draw(std::vector<float>{-3, -2}, {.repetition_penalty = 1.6f}), 0) << "negative logits go down, too";
  context_ = {-1, 70};  // ids no candidate has
  EXPECT_EQ(Draw(std::vector<float>{2.5f, 4}, {.repetition_penalty = 50}), 1);
}

TEST(SamplingParamsTest, ValidateNamesFieldRangeAndValue) {
  EXPECT_TRUE(SamplingParams{}.Validate().ok());
  const std::map<std::string, SamplingParams> wrong = {
      {"temperature must be in [0, 100], found -1", {.temperature = -1}},
      {"temperature must be in [0, 100], found nan", {.temperature = kNan}},
      {"temperature must be in [0, 100], found inf", {.temperature = kInf}},
      {"top_k must not be negative, found -1", {.top_k = -1}},
      {"top_p must be in (0, 1], found 0", {.top_p = 0}},
      {"top_p must be in (0, 1], found 1.5", {.top_p = 1.5f}},
      {"min_p must be in [0, 1], found 2", {.min_p = 2}},
      {"min_p must be in [0, 1], found nan", {.min_p = kNan}},
      {"repetition_penalty must be in (0, 100], found 0", {.repetition_penalty = 0}},
      {"logit_bias must be in [-100, 100], found 100.5 for token 7", {.logit_bias = {{3, 100}, {7, 100.5f}}}},
      {"logit_bias must be in [-100, 100], found nan for token 1", {.logit_bias = {{1, kNan}}}},
      {"presence_penalty must be in [-2, 2], found -2.5", {.presence_penalty = -2.5f}},
      {"frequency_penalty must be in [-2, 2], found nan", {.frequency_penalty = kNan}},
  };
  for (const auto& [message, params] : wrong) {
    EXPECT_EQ(params.Validate().code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(params.Validate().message(), message);
  }
}

}  // namespace
}  // namespace nosa::engine
