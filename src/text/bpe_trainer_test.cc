#include "text/bpe_trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <random>
#include <string>

#include "base/bytes.h"
#include "io/file.h"
#include "text/chat_template.h"
#include "text/tokenizer.h"
#include "text/utf8.h"

namespace nosa::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

const EncodeOptions kText = {.add_special_tokens = false, .parse_special_tokens = false};

// Prose and code with words of several scripts.
std::vector<std::string> Texts() {
  std::vector<std::string> texts;
  for (const char* name : {"docs/MAP.md", "CONTRIBUTING.md", "src/text/bpe.cc", "tests/golden/tokenizers/cases.json"}) {
    auto text = io::ReadTextFile(std::filesystem::path(NOSA_SOURCE_DIR) / name);
    EXPECT_TRUE(text.ok()) << text.status().ToString();
    texts.push_back(*std::move(text));
  }
  return texts;
}

TrainedBpe Train(const BpeTrainerOptions& options, const std::vector<std::string>& texts) {
  auto trainer = BpeTrainer::Create(options);
  EXPECT_TRUE(trainer.ok()) << trainer.status().ToString();
  for (const std::string& text : texts) EXPECT_TRUE((*trainer)->Add(text).ok());
  auto trained = (*trainer)->Train([](int) { return true; });
  EXPECT_TRUE(trained.ok()) << trained.status().ToString();
  return *std::move(trained);
}

std::shared_ptr<const Tokenizer> Load(const TrainedBpe& trained) {
  auto tokenizer = Tokenizer::FromJson(TokenizerJson(trained), "tokenizer.json");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  return *tokenizer;
}

TEST(BpeTrainer, WhatItWritesIsRead) {
  const TrainedBpe trained = Train({.vocab_size = 259 + 3}, {"aba aba aba aba bab", "aba\n"});
  // " aba" is seen 3 times and " bab" once; "aba" twice, at the beginnings of texts.
  EXPECT_EQ(trained.vocab_size(), 262);
  const auto tokenizer = Load(trained);
  EXPECT_EQ(tokenizer->vocab_size(), 262);
  EXPECT_EQ(tokenizer->IdOf("<s>"), 0);
  EXPECT_EQ(tokenizer->IdOf("</s>"), 1);
  EXPECT_EQ(tokenizer->IdOf("<pad>"), 2);
  EXPECT_TRUE(tokenizer->IsSpecial(2));
  EXPECT_FALSE(tokenizer->IsSpecial(3));
  EXPECT_EQ(tokenizer->TokenBytes(3), "!");
  EXPECT_EQ(tokenizer->TokenBytes(259), "ab");
  EXPECT_EQ(tokenizer->TokenBytes(260), "aba");
  EXPECT_EQ(tokenizer->TokenBytes(261), " aba");
  EXPECT_THAT(tokenizer->Encode("aba aba", {}), ElementsAre(260, 261));
  EXPECT_THAT(tokenizer->Encode("<s>aba</s>", {}), ElementsAre(0, 260, 1));
  EXPECT_THAT(trained.LongestTokens(2), ElementsAre(" aba", "aba"));
}

TEST(BpeTrainer, ThreadsDoNotCount) {
  const std::vector<std::string> texts = Texts();
  for (const char* pattern : {"gpt2", "llama3", R"(\w+)"}) {
    const std::string one = TokenizerJson(Train({.vocab_size = 1500, .pattern = pattern, .threads = 1}, texts));
    for (const int threads : {2, 5})
      EXPECT_EQ(TokenizerJson(Train({.vocab_size = 1500, .pattern = pattern, .threads = threads}, texts)), one);
  }
}

TEST(BpeTrainer, TextComesBack) {
  const std::vector<std::string> texts = Texts();
  for (const char* pattern : {"gpt2", "llama3", R"(\w+)"}) {
    const auto tokenizer = Load(Train({.vocab_size = 1500, .pattern = pattern}, texts));
    // Every byte has a token.
    std::vector<TokenId> ids;
    for (TokenId id = 3; id < 259; ++id) ids.push_back(id);
    std::string bytes = *tokenizer->Decode(ids, true);
    std::sort(bytes.begin(), bytes.end(),
              [](char a, char b) { return static_cast<uint8_t>(a) < static_cast<uint8_t>(b); });
    ASSERT_EQ(bytes.size(), 256u);
    for (size_t i = 0; i < 256; ++i) EXPECT_EQ(static_cast<uint8_t>(bytes[i]), i);
    // So every text comes back, seen before or not; bytes that are no text come back as U+FFFD.
    std::mt19937 random(7);
    for (int run = 0; run < 300; ++run) {
      std::string text;
      for (int i = 0; i < 50; ++i) text.push_back(static_cast<char>(random() % (run % 2 ? 256 : 128)));
      std::string expected;
      AppendWellFormed(text, false, &expected);
      EXPECT_EQ(*tokenizer->Decode(tokenizer->Encode(text, kText), true), expected);
    }
    size_t bytes_read = 0, tokens = 0;
    for (const std::string& text : texts) {
      const auto encoded = tokenizer->Encode(text, kText);
      EXPECT_EQ(*tokenizer->Decode(encoded, true), text);
      bytes_read += text.size();
      tokens += encoded.size();
    }
    EXPECT_GT(static_cast<double>(bytes_read) / static_cast<double>(tokens), 2.0) << pattern;
  }
}

TEST(BpeTrainer, WhatIsNotUtf8IsNotCounted) {
  auto trainer = BpeTrainer::Create({.vocab_size = 300});
  ASSERT_TRUE(trainer.ok());
  EXPECT_TRUE((*trainer)->Add("héhé").ok());
  const Status status = (*trainer)->Add("hé\xFF");
  EXPECT_EQ(status.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr("UTF-8, found other bytes at 3"));
  EXPECT_FALSE((*trainer)->Add("\xC3").ok());
  EXPECT_EQ((*trainer)->stats().texts, 1);
  EXPECT_EQ((*trainer)->stats().bytes, 6);
  const auto trained = (*trainer)->Train([](int) { return true; });
  ASSERT_TRUE(trained.ok());
  EXPECT_THAT(trained->LongestTokens(1), ElementsAre("hé"));
  EXPECT_EQ((*trainer)->distinct_words(), 1);
}

TEST(BpeTrainer, SpecialTokensInTextAreText) {
  std::string text;
  for (int i = 0; i < 20; ++i) text += " |end| |end|x";
  const TrainedBpe trained =
      Train({.vocab_size = 300, .special_tokens = {"|end|", "|begin|"}, .pattern = "[^ ]+"}, {text});
  const auto tokenizer = Load(trained);
  EXPECT_THAT(tokenizer->Encode("|end|", {}), ElementsAre(0));
  const auto ids = tokenizer->Encode("|end|", kText);
  EXPECT_GT(ids.size(), 1u) << "strangers do not get it";
  EXPECT_EQ(*tokenizer->Decode(ids, false), "|end|");
}

TEST(BpeTrainer, RefusesInOneSentence) {
  const std::pair<BpeTrainerOptions, const char*> cases[] = {
      {{.vocab_size = 258}, "a vocabulary of 258 tokens is too small: expected at least 259 (3 special tokens, 256 by"},
      {{.vocab_size = 1 << 23}, "too large: expected at most 4194304"},
      {{.special_tokens = {"a b", "a b"}}, "\"a b\" comes twice"},
      {{.special_tokens = {""}}, "an empty one"},
      {{.special_tokens = {"\xFF"}}, "not UTF-8"},
      {{.special_tokens = {"!"}}, "\"!\" is the name of a byte"},
      {{.special_tokens = {"\u0120"}}, "is the name of a byte"},
      {{.pattern = "("}, "the regular expression \"(\" is wrong"},
      {{.min_frequency = -1}, "expected a frequency from 0 on, found -1"},
      {{.max_token_bytes = -1}, "found -1 bytes"},
      {{.max_table_bytes = 1000}, "a table of words of 1000 B is too small: expected at least 1.0 MiB"},
      {{.threads = 0}, "at least one thread"},
  };
  for (const auto& [options, message] : cases) {
    const auto trainer = BpeTrainer::Create(options);
    ASSERT_FALSE(trainer.ok()) << message;
    EXPECT_EQ(trainer.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(trainer.status().message()), HasSubstr(message));
    EXPECT_EQ(BpeTrainer::Check(options).message(), trainer.status().message());
  }
  EXPECT_TRUE(BpeTrainer::Check({.vocab_size = 256, .special_tokens = {}}).ok());
}

TEST(BpeTrainer, CanBeStopped) {
  auto trainer = BpeTrainer::Create({});
  ASSERT_TRUE((*trainer)->Add("to be to be to be").ok());
  EXPECT_EQ((*trainer)->Train([](int) { return false; }).status().code(), StatusCode::kCancelled);
}

class TokenizerFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }
  std::filesystem::path Config() const { return directory_ / "tokenizer_config.json"; }
  void WriteConfig(std::string_view text) {
    ASSERT_TRUE(io::WriteFileAtomically(Config(), AsBytes(std::span<const char>(text))).ok());
  }

  const std::filesystem::path directory_ = std::filesystem::path(testing::TempDir()) / "tokenizer_files";
};

TEST_F(TokenizerFilesTest, AModelDirectory) {
  const TrainedBpe trained = Train({.vocab_size = 270}, {"to be or not to be"});
  ASSERT_TRUE(WriteTokenizerJson(trained, directory_ / "tokenizer.json").ok());
  ASSERT_TRUE(WriteTokenizerConfig(trained, directory_).ok());
  const auto tokenizer = Tokenizer::FromFile(directory_ / "tokenizer.json");
  ASSERT_TRUE(tokenizer.ok()) << tokenizer.status().ToString();
  EXPECT_EQ((*tokenizer)->vocab_size(), trained.vocab_size());
  const auto special = LoadSpecialTokens(directory_);
  ASSERT_TRUE(special.ok());
  EXPECT_EQ(io::DumpJson(*special), R"({"bos_token":"<s>","eos_token":"</s>","pad_token":"<pad>"})");
}

TEST_F(TokenizerFilesTest, KeepsWhatElseTheConfigSays) {
  WriteConfig(R"({"chat_template": "{{ x }}", "eos_token": "old", "pad_token": "old"})");
  const TrainedBpe trained = Train({.vocab_size = 270, .special_tokens = {"<b>", "<e>"}}, {"to be"});
  ASSERT_TRUE(WriteTokenizerConfig(trained, directory_).ok());
  const auto config = io::ReadJsonFile(Config());
  ASSERT_TRUE(config.ok());
  EXPECT_EQ((*config)["chat_template"], "{{ x }}");
  EXPECT_EQ((*config)["bos_token"], "<b>");
  EXPECT_EQ((*config)["eos_token"], "<e>");
  EXPECT_FALSE(config->contains("pad_token"));
}

TEST_F(TokenizerFilesTest, SaysWhatIsWrong) {
  const TrainedBpe trained = Train({.vocab_size = 270}, {"to be"});
  EXPECT_FALSE(WriteTokenizerJson(trained, directory_ / "none" / "tokenizer.json").ok());
  WriteConfig("[]");
  EXPECT_THAT(std::string(WriteTokenizerConfig(trained, directory_).message()), HasSubstr("holds no JSON object"));
}

}  // namespace
}  // namespace nosa::text
