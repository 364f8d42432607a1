// Every stage of stages.def alone.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <string>

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

SamplingState StateOf(const std::vector<float>& logits, const SamplingParams* params) {
  SamplingState state;
  state.params = params;
  for (size_t i = 0; i < logits.size(); ++i) state.candidates.push_back({static_cast<TokenId>(i), logits[i]});
  return state;
}

std::vector<TokenId> IdsAfter(std::string_view stage, const std::vector<float>& logits, const SamplingParams& params) {
  SamplingState state = StateOf(logits, &params);
  Stage(stage).Apply(&state);
  std::vector<TokenId> ids;
  for (const Candidate& c : state.candidates) ids.push_back(c.id);
  std::sort(ids.begin(), ids.end());
  return ids;
}

using Ids = std::vector<TokenId>;

TEST(StagesTest, TheListIsComplete) {
  std::vector<std::string> names;
  for (const auto& stage : SamplingStages()) names.emplace_back(stage->name());
  EXPECT_EQ(names, (std::vector<std::string>{"mask", "logit_bias", "repetition_penalty", "occurrence_penalty",
                                             "temperature", "top_k", "top_p", "min_p"}));
}

TEST(StagesTest, NoneIsActiveByDefault) {
  for (const auto& stage : SamplingStages()) EXPECT_FALSE(stage->Active({})) << stage->name();
  EXPECT_TRUE(Stage("mask").Active({.masked = true}));
  EXPECT_TRUE(Stage("temperature").Active({.temperature = 0.5f}));
  EXPECT_FALSE(Stage("temperature").Active({.temperature = 1}));
  EXPECT_TRUE(Stage("top_k").Active({.top_k = 1}));
  EXPECT_TRUE(Stage("top_p").Active({.top_p = 0.99f}));
  EXPECT_TRUE(Stage("min_p").Active({.min_p = 0.01f}));
  EXPECT_TRUE(Stage("repetition_penalty").Active({.repetition_penalty = 0.9f}));
  EXPECT_TRUE(Stage("logit_bias").Active({.logit_bias = {{3, 0}}}));
  EXPECT_TRUE(Stage("occurrence_penalty").Active({.presence_penalty = -0.1f}));
  EXPECT_TRUE(Stage("occurrence_penalty").Active({.frequency_penalty = 0.1f}));
}

TEST(StagesTest, TheMaskKeepsWhatItAllows) {
  const SamplingParams params = {.masked = true};
  const text::TokenMask mask = {.bits = {0b101001}, .tokens = 3};
  SamplingState state = StateOf({5, 4, 3, 2, 1, 0, 9}, &params);
  state.mask = &mask;
  Stage("mask").Apply(&state);
  ASSERT_EQ(state.candidates.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(state.candidates[i].id, (Ids{0, 3, 5})[i]);
  state.candidates = {{6, 1}};  // those it allows were left out as broken
  Stage("mask").Apply(&state);
  ASSERT_EQ(state.candidates.size(), 1u);
  EXPECT_EQ(state.candidates[0].id, 0);
}

TEST(StagesTest, TopKKeepsTheBestTiesToTheLowerId) {
  const std::vector<float> logits = {1, 5, 3, 5, 3, 3};
  EXPECT_EQ(IdsAfter("top_k", logits, {.top_k = 1}), (Ids{1}));
  EXPECT_EQ(IdsAfter("top_k", logits, {.top_k = 2}), (Ids{1, 3}));
  EXPECT_EQ(IdsAfter("top_k", logits, {.top_k = 3}), (Ids{1, 2, 3}));
  EXPECT_EQ(IdsAfter("top_k", logits, {.top_k = 4}), (Ids{1, 2, 3, 4}));
  EXPECT_EQ(IdsAfter("top_k", logits, {.top_k = 6}).size(), 6u);
  EXPECT_EQ(IdsAfter("top_k", logits, {.top_k = 7}).size(), 6u);
}

TEST(StagesTest, TopPKeepsTheFewestThatReachP) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.3f)};
  EXPECT_EQ(IdsAfter("top_p", logits, {.top_p = 0.001f}), (Ids{1}));
  EXPECT_EQ(IdsAfter("top_p", logits, {.top_p = 0.39f}), (Ids{1}));
  EXPECT_EQ(IdsAfter("top_p", logits, {.top_p = 0.41f}), (Ids{1, 3}));
  EXPECT_EQ(IdsAfter("top_p", logits, {.top_p = 0.69f}), (Ids{1, 3}));
  EXPECT_EQ(IdsAfter("top_p", logits, {.top_p = 0.71f}), (Ids{1, 2, 3}));
  EXPECT_EQ(IdsAfter("top_p", logits, {.top_p = 0.91f}), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(IdsAfter("top_p", {3}, {.top_p = 0.5f}), (Ids{0}));
}

TEST(StagesTest, MinPComparesWithTheLikeliest) {
  const std::vector<float> logits = {std::log(0.1f), std::log(0.4f), std::log(0.2f), std::log(0.3f)};
  EXPECT_EQ(IdsAfter("min_p", logits, {.min_p = 1}), (Ids{1}));
  EXPECT_EQ(IdsAfter("min_p", logits, {.min_p = 0.76f}), (Ids{1}));
  EXPECT_EQ(IdsAfter("min_p", logits, {.min_p = 0.74f}), (Ids{1, 3}));
  EXPECT_EQ(IdsAfter("min_p", logits, {.min_p = 0.49f}), (Ids{1, 2, 3}));
  EXPECT_EQ(IdsAfter("min_p", logits, {.min_p = 0.24f}), (Ids{0, 1, 2, 3}));
  EXPECT_EQ(IdsAfter("min_p", {2, 2, 1}, {.min_p = 1}), (Ids{0, 1})) << "equals of the likeliest stay";
}

std::vector<float> LogitsAfter(std::string_view stage, const std::vector<float>& logits, const SamplingParams& params,
                               const TokenContext& context = {}) {
  SamplingState state = StateOf(logits, &params);
  state.context = context;
  Stage(stage).Apply(&state);
  std::vector<float> after;
  for (const Candidate& c : state.candidates) after.push_back(c.logit);
  return after;
}

TEST(StagesTest, LogitBiasIsAddedToTheTokensItNames) {
  const float most = std::numeric_limits<float>::max();
  EXPECT_EQ(LogitsAfter("logit_bias", {1, 2, 3}, {.logit_bias = {{1, 5}, {2, -100}}}), (std::vector<float>{1, 7, -97}));
  EXPECT_EQ(LogitsAfter("logit_bias", {1, 2}, {.logit_bias = {{0, 5}, {0, -2}, {7, 1}, {-1, 1}}}),
            (std::vector<float>{4, 2}));
  EXPECT_EQ(LogitsAfter("logit_bias", {most, -most}, {.logit_bias = {{0, 100}, {1, -100}}}),
            (std::vector<float>{most, -most}));
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

// What a stage must not do, whatever comes before it: drop everything, invent, or say "sorted" of what is not.
TEST(StagesTest, EveryStageKeepsItsPromises) {
  const SamplingParams params = {.temperature = 0.7f,
                                 .top_k = 5,
                                 .top_p = 0.8f,
                                 .min_p = 0.1f,
                                 .repetition_penalty = 1.3f,
                                 .logit_bias = {{2, 3.5f}, {0, -100}, {900, 1}},
                                 .presence_penalty = 0.5f,
                                 .frequency_penalty = -1,
                                 .masked = true};
  const text::TokenMask mask = {.bits = {0b1010011}, .tokens = 4};
  for (const auto& stage : SamplingStages()) {
    for (uint64_t seed = 0; seed < 200; ++seed) {
      SCOPED_TRACE(std::string(stage->name()) + " " + std::to_string(seed));
      std::vector<float> logits;
      for (uint64_t i = 0; i <= seed % 9; ++i) logits.push_back(std::round(2 * Philox(seed).Normal(i)));  // with ties
      SamplingState state = StateOf(logits, &params);
      const std::vector<TokenId> context = {0, 3};
      state.context = {context, 1};
      state.mask = &mask;
      if (seed % 2 == 0) state.Sort();
      stage->Apply(&state);
      ASSERT_FALSE(state.candidates.empty());
      std::set<TokenId> ids;
      for (const Candidate& c : state.candidates) {
        EXPECT_TRUE(ids.insert(c.id).second);
        EXPECT_TRUE(c.id >= 0 && c.id < static_cast<TokenId>(logits.size()));
        EXPECT_TRUE(std::isfinite(c.logit));
      }
      if (!state.sorted) continue;
      for (size_t i = 1; i < state.candidates.size(); ++i) {
        const Candidate &a = state.candidates[i - 1], &b = state.candidates[i];
        EXPECT_TRUE(a.logit > b.logit || (a.logit == b.logit && a.id < b.id));
      }
    }
  }
}

TEST(SamplingStateTest, KeepBestIsTheBeginningOfTheSortedOrder) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    std::vector<float> logits;
    for (uint64_t i = 0; i <= seed % 30; ++i) logits.push_back(std::round(3 * Philox(seed).Normal(i)));
    SamplingState whole = StateOf(logits, nullptr), cut = StateOf(logits, nullptr);
    whole.Sort();
    const size_t n = 1 + seed % 7;
    cut.KeepBest(n);
    cut.Sort();
    ASSERT_EQ(cut.candidates.size(), std::min(n, logits.size()));
    for (size_t i = 0; i < cut.candidates.size(); ++i) EXPECT_EQ(cut.candidates[i].id, whole.candidates[i].id);
  }
}

}  // namespace
}  // namespace nosa::engine
