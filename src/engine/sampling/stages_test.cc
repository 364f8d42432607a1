// Every stage of stages.def alone.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/rng.h"
#include "engine/sampling.h"

namespace nosa::engine {
namespace {

const SamplingStage& Stage(std::string_view name) {
  for (const auto& stage : SamplingStages()) {
    if (stage->name() == name) return *stage;
  }
  ADD_FAILURE() << "no stage " << name;
  return *SamplingStages().front();
}

constexpr float kOut = -std::numeric_limits<float>::infinity();

// The logits as a stage leaves them.
std::vector<float> LogitsAfter(std::string_view stage, std::vector<float> logits, const SamplingParams& params,
                               const TokenContext& context = {}, const text::TokenMask* mask = nullptr) {
  SamplingState state = {&params, context, mask, logits};
  Stage(stage).Apply(&state);
  return logits;
}

using Logits = std::vector<float>;

TEST(StagesTest, TheListIsComplete) {
  std::vector<std::string> names;
  for (const auto& stage : SamplingStages()) names.emplace_back(stage->name());
  EXPECT_EQ(names, (std::vector<std::string>{"mask", "logit_bias", "repetition_penalty", "occurrence_penalty"}));
}

// And a request is plain, one that a device can draw for, exactly when none is.
TEST(StagesTest, NoneIsActiveByDefault) {
  const auto active = [](const SamplingParams& params) {
    std::vector<std::string> names;
    for (const auto& stage : SamplingStages()) {
      if (stage->Active(params)) names.emplace_back(stage->name());
    }
    EXPECT_EQ(params.plain(), names.empty());
    return names;
  };
  using Names = std::vector<std::string>;
  EXPECT_EQ(active({}), Names());
  EXPECT_EQ(active({.temperature = 0.5f, .top_k = 1, .top_p = 0.99f, .min_p = 0.01f, .seed = 3}), Names())
      << "the draw's own";
  EXPECT_EQ(active({.masked = true}), Names{"mask"});
  EXPECT_EQ(active({.repetition_penalty = 0.9f}), Names{"repetition_penalty"});
  EXPECT_EQ(active({.logit_bias = {{3, 0}}}), Names{"logit_bias"});
  EXPECT_EQ(active({.presence_penalty = -0.1f}), Names{"occurrence_penalty"});
  EXPECT_EQ(active({.frequency_penalty = 0.1f}), Names{"occurrence_penalty"});
}

TEST(StagesTest, TheMaskKeepsWhatItAllows) {
  const SamplingParams params = {.masked = true};
  const text::TokenMask mask = {.bits = {0b101001}, .tokens = 3};
  EXPECT_EQ(LogitsAfter("mask", {5, 4, 3, 2, 1, 0, 9}, params, {}, &mask), (Logits{5, kOut, kOut, 2, kOut, 0, kOut}));
  EXPECT_EQ(LogitsAfter("mask", {5, 4, 3, kOut, 1, kOut, 9}, params, {}, &mask),
            (Logits{5, kOut, kOut, kOut, kOut, kOut, kOut}));
  // Those it allows were left out as broken.
  EXPECT_EQ(LogitsAfter("mask", {kOut, 4, 3, kOut, 1, kOut, 9}, params, {}, &mask),
            (Logits{0, kOut, kOut, kOut, kOut, kOut, kOut}));
}

TEST(StagesTest, LogitBiasIsAddedToTheTokensItNames) {
  const float most = std::numeric_limits<float>::max();
  EXPECT_EQ(LogitsAfter("logit_bias", {1, 2, 3}, {.logit_bias = {{1, 5}, {2, -100}}}), (std::vector<float>{1, 7, -97}));
  EXPECT_EQ(LogitsAfter("logit_bias", {1, 2}, {.logit_bias = {{0, 5}, {0, -2}, {7, 1}, {-1, 1}}}),
            (std::vector<float>{4, 2}));
  EXPECT_EQ(LogitsAfter("logit_bias", {most, -most}, {.logit_bias = {{0, 100}, {1, -100}}}),
            (std::vector<float>{most, -most}));
  EXPECT_EQ(LogitsAfter("logit_bias", {1, kOut}, {.logit_bias = {{1, 100}}}), (Logits{1, kOut})) << "it was dropped";
}

TEST(StagesTest, OccurrencesInTheAnswerCountThoseOfThePromptDoNot) {
  const std::vector<TokenId> tokens = {0, 1, 2, 2, 3, 2};
  const std::vector<float> logits = {1, 1, 1, 1};
  EXPECT_EQ(LogitsAfter("occurrence_penalty", logits, {.presence_penalty = 0.5f}, {tokens, 3}),
            (std::vector<float>{1, 1, 0.5f, 0.5f}));
  EXPECT_EQ(LogitsAfter("occurrence_penalty", logits, {.frequency_penalty = 0.5f}, {tokens, 3}),
            (std::vector<float>{1, 1, 0, 0.5f}));
  EXPECT_EQ(LogitsAfter("occurrence_penalty", logits, {.presence_penalty = -2, .frequency_penalty = 1}, {tokens, 6}),
            (std::vector<float>{2, 2, 0, 2}));
  EXPECT_EQ(LogitsAfter("occurrence_penalty", logits, {.presence_penalty = 2, .frequency_penalty = 2}, {tokens, 0}),
            logits);
}

TEST(StagesTest, RepetitionTakesFromTokensOfTheContextOnce) {
  const std::vector<TokenId> tokens = {0, 1, 0, -1, 3, 70};
  EXPECT_EQ(LogitsAfter("repetition_penalty", {4, -2, 4, kOut}, {.repetition_penalty = 2}, tokens),
            (Logits{2, -4, 4, kOut}));
  EXPECT_EQ(LogitsAfter("repetition_penalty", {4, -2}, {.repetition_penalty = 0.5f}, tokens), (Logits{8, -1}));
}

// What a stage must not do, whatever comes before it: drop everything, bring back what was dropped, or leave what is no
// number.
TEST(StagesTest, EveryStageKeepsItsPromises) {
  const SamplingParams params = {.repetition_penalty = 1.3f,
                                 .logit_bias = {{2, 3.5f}, {0, -100}, {900, 1}},
                                 .presence_penalty = 0.5f,
                                 .frequency_penalty = -1,
                                 .masked = true};
  const text::TokenMask mask = {.bits = {0b1010011}, .tokens = 4};
  for (const auto& stage : SamplingStages()) {
    for (uint64_t seed = 0; seed < 200; ++seed) {
      SCOPED_TRACE(std::string(stage->name()) + " " + std::to_string(seed));
      Logits logits;
      for (uint64_t i = 0; i <= seed % 9; ++i) logits.push_back(30 * Philox(seed).Normal(i));
      for (uint64_t i = 1; i <= seed % 9; ++i) {
        if (Philox(seed, 1).Uniform(i) < 0.3f) logits[i] = kOut;
      }
      const Logits before = logits;
      const std::vector<TokenId> context = {0, 3, 2};
      SamplingState state = {&params, {context, 2}, &mask, logits};
      stage->Apply(&state);
      int left = 0;
      for (size_t i = 0; i < logits.size(); ++i) {
        EXPECT_TRUE(logits[i] == kOut || (std::isfinite(logits[i]) && std::isfinite(before[i])));
        left += logits[i] != kOut ? 1 : 0;
      }
      EXPECT_GT(left, 0);
    }
  }
}

TEST(SamplingStateTest, LogitsStayNumbersAndWhatWasDroppedStaysOut) {
  const float most = std::numeric_limits<float>::max();
  Logits logits = {1, 2, kOut, 3};
  SamplingState state;
  state.logits = logits;
  EXPECT_TRUE(state.Has(0));
  for (const TokenId none : {-1, 2, 4}) EXPECT_FALSE(state.Has(none)) << none;
  state.Set(0, 2 * most);
  state.Set(1, -2 * most);
  state.Drop(3);
  EXPECT_EQ(logits, (Logits{most, -most, kOut, kOut}));
}

}  // namespace
}  // namespace nosa::engine
