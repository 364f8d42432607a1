#include "train/text_source.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <numeric>
#include <set>

#include "train/task_source.h"

namespace nosa::train {
namespace {

namespace fs = std::filesystem;

TEST(Permuted, IsAPermutationOfItsOwnForEachRound) {
  for (const uint64_t n : {1u, 2u, 3u, 5u, 64u, 65u, 1000u}) {
    std::set<uint64_t> seen;
    std::vector<uint64_t> first, second;
    for (uint64_t i = 0; i < n; ++i) {
      first.push_back(Permuted(i, n, 1, 0));
      second.push_back(Permuted(i, n, 1, 1));
      seen.insert(first.back());
      EXPECT_LT(first.back(), n);
    }
    EXPECT_EQ(seen.size(), n);
    if (n >= 64) {
      EXPECT_NE(first, second);
    }
  }
}

std::shared_ptr<const TokenText> Counting(int tokens, size_t learn) {
  auto text = std::make_shared<TokenText>();
  text->tokens.resize(static_cast<size_t>(tokens));
  std::iota(text->tokens.begin(), text->tokens.end(), 0);
  text->learn = learn;
  return text;
}

struct Filled {
  explicit Filled(size_t length) : ids(length), targets(length), weights(length), answers(length) {}
  std::vector<int64_t> ids, targets;
  std::vector<float> weights;
  std::vector<uint8_t> answers;
  Row row() { return {ids, targets, weights, answers}; }
};

TEST(TextSource, EachRoundGoesThroughTheTextOnce) {
  const auto source = MakeTextSource(Counting(1000, 900), "counting", 4);
  std::set<int64_t> begins;
  for (uint64_t i = 0; i < 89; ++i) {  // windows of 9 + 1 tokens, one of which is slack for the round's beginning
    Filled filled(9);
    ASSERT_TRUE(source->Fill(i, filled.row()).ok());
    for (size_t t = 0; t < 9; ++t) EXPECT_EQ(filled.targets[t], filled.ids[t] + 1);
    EXPECT_LT(filled.targets.back(), 900) << "held out";
    begins.insert(filled.ids.front());
  }
  EXPECT_EQ(begins.size(), 89u);
  Filled held_out(9);
  ASSERT_TRUE(source->FillHeldOut(3, held_out.row()).ok());
  EXPECT_GE(held_out.ids.front(), 900);
  EXPECT_TRUE(source->Check(899).ok());
  EXPECT_THAT(std::string(source->Check(900).message()), testing::HasSubstr("at least 901, counting has 900"));
}

TEST(TextSource, TheSmallestText) {
  const auto source = MakeTextSource(Counting(10, 10), "counting", 4);
  Filled filled(9);
  ASSERT_TRUE(source->Fill(17, filled.row()).ok());
  EXPECT_EQ(filled.ids.front(), 0);
  EXPECT_FALSE(source->FillHeldOut(0, filled.row()).ok());
}

class Tokenized : public testing::Test {
 protected:
  void SetUp() override {
    tokenizer_ = text::Tokenizer::FromFile(NOSA_SOURCE_DIR "/models/nosa-21m/tokenizer.json").value();
    folder_ = fs::path(testing::TempDir()) / "texts";
    fs::remove_all(folder_);
    fs::create_directories(folder_);
    for (int i = 0; i < 20; ++i) {
      std::ofstream file(folder_ / fmt::format("{}.txt", i));
      for (int j = 0; j < 40; ++j) file << "Line " << j << " of the text with the number " << i << ".\n";
    }
    options_.sources = {folder_};
    options_.held_out = 0.1;
    options_.threads = 2;
    options_.cache = folder_ / "cache";
  }
  Result<TokenText> Read() { return TokenizeText(*tokenizer_, 1, 1, options_); }

  std::shared_ptr<const text::Tokenizer> tokenizer_;
  fs::path folder_;
  TextOptions options_;
};

TEST_F(Tokenized, IsTheSameOnAnyThreadsAndFromTheCache) {
  const TokenText first = Read().value();
  EXPECT_EQ(std::count(first.tokens.begin(), first.tokens.end(), 1), 20) << "an end behind each document";
  EXPECT_NEAR(static_cast<double>(first.learn), 0.9 * static_cast<double>(first.tokens.size()), 1);
  ASSERT_FALSE(fs::is_empty(options_.cache));
  EXPECT_EQ(Read()->tokens, first.tokens);
  options_.threads = 1;
  options_.cache.clear();
  EXPECT_EQ(Read()->tokens, first.tokens);
  options_.seed = 5;
  EXPECT_NE(Read()->tokens, first.tokens) << "another order";
}

TEST_F(Tokenized, ADamagedCacheIsMadeAnew) {
  const TokenText first = Read().value();
  for (const auto& file : fs::directory_iterator(options_.cache)) std::ofstream(file.path(), std::ios::trunc) << "x";
  EXPECT_EQ(Read()->tokens, first.tokens);
}

TEST_F(Tokenized, WhatCannotBeReadIsNamed) {
  options_.sources = {folder_ / "missing"};
  EXPECT_THAT(std::string(Read().status().message()), testing::HasSubstr("missing"));
  std::ofstream(folder_ / "bytes.bin", std::ios::binary) << std::string(100, '\0');
  options_.sources = {folder_ / "bytes.bin"};
  EXPECT_THAT(std::string(Read().status().message()), testing::HasSubstr("bytes.bin"));
}

// Questions at the end of a whole sequence, or of each of its parts: each token still follows the one before.
TEST_F(Tokenized, ATasksSequenceMayHaveSeveralTexts) {
  const auto text = std::make_shared<const TokenText>(Read().value());
  TaskOptions options;
  options.name = "facts";
  options.questions = 2;
  options.parts = 4;
  const auto source = MakeTaskSource(tokenizer_, text, options);
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  int with[3] = {};  // rows whose first answers are in the last half, the second quarter, the first quarter
  for (uint64_t number = 0; number < 60; ++number) {
    Filled one(1024), again(1024);
    ASSERT_TRUE((*source)->Fill(number, one.row()).ok());
    ASSERT_TRUE((*source)->Fill(number, again.row()).ok());
    EXPECT_EQ(one.ids, again.ids);
    for (size_t t = 0; t + 1 < 1024; ++t) ASSERT_EQ(one.targets[t], one.ids[t + 1]) << number << " at " << t;
    const auto first = std::find(one.answers.begin(), one.answers.end(), 1) - one.answers.begin();
    ++with[first < 256 ? 2 : first < 512 ? 1 : 0];
    EXPECT_EQ(one.answers.back(), 1);
  }
  for (const int rows : with) EXPECT_GT(rows, 10);
}

TEST_F(Tokenized, TasksHideInIt) {
  const auto text = std::make_shared<const TokenText>(Read().value());
  TaskOptions options;
  options.name = "facts";
  options.weights = {.document = 0, .question = 0, .answer = 1};
  const auto source = MakeTaskSource(tokenizer_, text, options);
  ASSERT_TRUE(source.ok()) << source.status().ToString();
  ASSERT_TRUE((*source)->Check(512).ok()) << (*source)->Check(512).ToString();
  Filled one(512), again(512), other(512);
  ASSERT_TRUE((*source)->Fill(5, one.row()).ok());
  ASSERT_TRUE((*source)->Fill(5, again.row()).ok());
  ASSERT_TRUE((*source)->Fill(6, other.row()).ok());
  EXPECT_EQ(one.ids, again.ids);
  EXPECT_NE(one.ids, other.ids);
  EXPECT_GT(std::count(one.answers.begin(), one.answers.end(), 1), 4);
  for (size_t t = 0; t < 512; ++t) EXPECT_EQ(one.weights[t], one.answers[t]);
  EXPECT_FALSE((*source)->Check(4).ok());
  options.name = "riddles";
  const auto none = MakeTaskSource(tokenizer_, text, options);
  EXPECT_THAT(std::string(none.status().message()), testing::HasSubstr("riddles"));
}

TEST(Mixture, TakesEachSourceByItsShare) {
  std::vector<Share> shares;
  shares.push_back({MakeTextSource(Counting(1000, 1000), "low", 1), 3});
  auto high = std::make_shared<TokenText>();
  high->tokens.assign(1000, 5000);
  high->learn = 1000;
  shares.push_back({MakeTextSource(high, "high", 1), 1});
  const Mixture mixture(std::move(shares), 7);
  int of_high = 0;
  for (uint64_t i = 0; i < 1000; ++i) {
    Filled filled(4);
    ASSERT_TRUE(mixture.Fill(i, filled.row()).ok());
    of_high += filled.ids[0] == 5000 ? 1 : 0;
  }
  EXPECT_NEAR(of_high, 250, 60);
}

}  // namespace
}  // namespace nosa::train
