#include "text/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <thread>

#include "base/clock.h"
#include "text/tokenizer_test_data.h"
#include "text/utf8.h"

namespace nosa::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::shared_ptr<const Tokenizer> Make(const io::Json& config) {
  auto t = Tokenizer::FromJson(io::DumpJson(config), "tokenizer.json");
  EXPECT_TRUE(t.ok()) << t.status().ToString();
  return t.ok() ? *t : nullptr;
}

constexpr EncodeOptions kStranger = {.add_special_tokens = false, .parse_special_tokens = false};

TEST(Tokenizer, EncodesAndDecodes) {
  const auto t = Make(SmallTokenizer());
  EXPECT_THAT(t->Encode("hello", {}), ElementsAre(259, 258, 'o'));
  EXPECT_THAT(t->Encode("", {}), ElementsAre(259));
  EXPECT_THAT(t->Encode("</s><x>", {}), ElementsAre(259, 260, 261));
  EXPECT_THAT(t->Encode("</s><x>", kStranger), ElementsAre('<', '/', 's', '>', 261));
  EXPECT_THAT(t->Encode("e\u0301\xFF", kStranger), ElementsAre(0xC3, 0xA9, 0xEF, 0xBF, 0xBD));
  const std::vector<TokenId> ids = {259, 258, 'o', 260, 0xC3};
  EXPECT_EQ(*t->Decode(ids, true), "<s>hello</s>\xC3");
  EXPECT_EQ(*t->Decode(ids, false), "hello\xC3");
  EXPECT_EQ(t->vocab_size(), 262);
  EXPECT_EQ(t->IdOf("</s>"), 260);
  EXPECT_EQ(t->IdOf("nothing"), -1);
  EXPECT_TRUE(t->IsSpecial(260));
  EXPECT_FALSE(t->IsSpecial(261));
  EXPECT_EQ(t->TokenBytes(' '), " ");
  EXPECT_EQ(t->TokenBytes(-1), "");
  EXPECT_EQ(t->TokenBytes(262), "");
}

TEST(Tokenizer, DecodeNamesIdsItDoesNotHave) {
  const auto t = Make(SmallTokenizer());
  for (const TokenId id : {-1, 262, INT32_MAX}) {
    const auto text = t->Decode(std::vector<TokenId>{'a', id}, true);
    EXPECT_EQ(text.status().code(), StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(text.status().message()), HasSubstr(std::to_string(id)));
  }
}

// Under ignore_merges a word that is a token is that token; strangers must not reach a special one that way.
TEST(Tokenizer, StrangersGetNoSpecialTokenUnderIgnoreMerges) {
  io::Json config = SmallTokenizer();
  config["model"]["ignore_merges"] = true;
  config["model"]["vocab"]["<s>"] = 259;
  config["pre_tokenizer"]["use_regex"] = false;
  EXPECT_THAT(Make(config)->Encode("<s>", kStranger), ElementsAre('<', 's', '>'));
}

struct BadCase {
  const char* pointer;
  io::Json value;
  const char* message;
};

TEST(Tokenizer, RefusesInOneSentence) {
  const io::Json merges_of_unknown = {"h e", "q q"};
  const io::Json pair_of_unknown = io::Json::array({io::Json::array({"zz", "h"})});
  const BadCase cases[] = {
      {"/model/type", "WordPiece", "model.type: expected BPE, found WordPiece"},
      {"/model/vocab", nullptr, "model.vocab: expected the vocabulary, found none"},
      {"/model/vocab", io::Json::object(), "model.vocab: the vocabulary is empty"},
      {"/model/vocab", {{"a", 0}, {"b", 0}}, "both have the id 0"},
      {"/model/vocab", {{"a", -1}}, "token \"a\" has the id -1"},
      {"/model/vocab", {{"a", 1 << 22}}, "token \"a\" has the id 4194304"},
      {"/model/vocab", {{"a", UINT64_MAX}}, "expected 0 to 4194303"},
      {"/model/vocab", {{"a", "0"}}, "the id of \"a\" is string"},
      {"/model/merges", merges_of_unknown, "model.merges[1]: \"q\" + \"q\": \"qq\" is not in the vocabulary"},
      {"/model/merges", pair_of_unknown, "\"zz\" is not in the vocabulary"},
      {"/model/merges/0", "h", "model.merges[0]: expected"},
      {"/model/merges/0", "h e l", "model.merges[0]: expected"},
      {"/model/merges", nullptr, "model.merges: expected an array, found none"},
      {"/model/dropout", 0.1, "dropout"},
      {"/model/byte_fallback", true, "byte_fallback"},
      {"/model/end_of_word_suffix", "</w>", "end_of_word_suffix"},
      {"/model/unk_token", "<unk>", "unk_token: \"<unk>\" is not in the vocabulary"},
      {"/added_tokens/0/id", 'a', "both have the id 97"},
      {"/added_tokens/0/id", -7, "has the id -7"},
      {"/added_tokens/1/id", 259, "both have the id 259"},
      {"/added_tokens/1/content", "<s>", "has two ids"},
      {"/added_tokens/1/content", "", "added_tokens: [1]: content"},
      {"/added_tokens/1/lstrip", "yes", "lstrip"},
      {"/normalizer/type", "Lowercase", "normalizer: the type is \"Lowercase\""},
      {"/pre_tokenizer/type", "Metaspace", "pre_tokenizer: the type is \"Metaspace\""},
      {"/pre_tokenizer/type", nullptr, "pre_tokenizer.type"},
      {"/decoder/type", "WordPiece", "decoder: the type is \"WordPiece\""},
      {"/post_processor/type", "BertProcessing", "post_processor: the type is \"BertProcessing\""},
      {"/post_processor/special_tokens/<s>/ids", {262}, "not in the vocabulary, whose ids are below 262"},
      {"/post_processor/special_tokens", io::Json::object(), "\"<s>\" of the template is missing"},
      {"/post_processor/single", io::Json::array(), "holds the text 0 times"},
  };
  for (const BadCase& c : cases) {
    io::Json config = SmallTokenizer();
    config[io::Json::json_pointer(c.pointer)] = c.value;
    const auto t = Tokenizer::FromJson(io::DumpJson(config), "tokenizer.json");
    ASSERT_FALSE(t.ok()) << c.pointer;
    EXPECT_THAT(std::string(t.status().message()), HasSubstr(c.message)) << c.pointer;
    EXPECT_THAT(std::string(t.status().message()), testing::StartsWith("tokenizer.json")) << c.pointer;
  }
  EXPECT_FALSE(Tokenizer::FromJson("", "x").ok());
  EXPECT_FALSE(Tokenizer::FromJson("[]", "x").ok());
  EXPECT_EQ(Tokenizer::FromFile("no/such/file").status().code(), StatusCode::kNotFound);
}

// One character a million times: every character of it is a merge waiting in one queue.
TEST(Tokenizer, AMillionOfOneCharacterIsQuick) {
  const auto t = Make(SmallTokenizer());
  for (const char* unit : {"l", " ", "1", "=", "he", "\u0301\u0316"}) {
    std::string text;
    while (text.size() < (1 << 20)) text += unit;
    const Stopwatch watch;
    const auto ids = t->Encode(text, kStranger);
    EXPECT_LT(watch.Seconds(), 20) << unit;
    EXPECT_EQ(t->Decode(ids, true)->size(), text.size());
  }
}

TEST(Tokenizer, ThreadsShareOne) {
  const auto t = Make(SmallTokenizer());
  std::string text;
  for (int i = 0; i < 500; ++i) text += "hello <x> e\u0301 " + std::to_string(i);
  const auto expected = t->Encode(text, {});
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i)
    threads.emplace_back([&] {
      for (int k = 0; k < 10; ++k) EXPECT_EQ(t->Encode(text, {}), expected);
    });
  for (std::thread& thread : threads) thread.join();
}

TEST(StreamingDetokenizer, HoldsBackPartsOfCharacters) {
  StreamingDetokenizer stream(Make(SmallTokenizer()));
  EXPECT_EQ(stream.Push(258), "hell");
  EXPECT_EQ(stream.Push(0xF0), "");
  EXPECT_EQ(stream.Push(0x9F), "");
  EXPECT_EQ(stream.Push(259), "");  // special: left out, and no reason to end the character
  EXPECT_EQ(stream.Push(0x98), "");
  EXPECT_EQ(stream.Push(0x80), "\U0001F600");
  EXPECT_EQ(stream.Push(0xE2), "");
  EXPECT_EQ(stream.Push('a'),
            "\uFFFD"
            "a");
  EXPECT_EQ(stream.Push(0xFF), "\uFFFD");
  EXPECT_EQ(stream.Push(99999), "");
  EXPECT_EQ(stream.Push(0xE2), "");
  EXPECT_EQ(stream.Push(0x82), "");
  EXPECT_EQ(stream.Finish(), "\uFFFD");
  EXPECT_EQ(stream.Finish(), "");
}

// Whatever the tokens, the pieces are valid and together what Decode gives.
TEST(StreamingDetokenizer, EqualsDecode) {
  const auto t = Make(SmallTokenizer());
  uint32_t state = 1;
  for (int run = 0; run < 300; ++run) {
    std::vector<TokenId> ids;
    for (int i = 0; i < 40; ++i) {
      state = state * 1664525 + 1013904223;
      // Mostly lead and continuation bytes.
      ids.push_back(state >> 31 ? 0x80 + (state >> 24) % 0x80 : static_cast<TokenId>((state >> 16) % 262));
    }
    StreamingDetokenizer stream(t);
    std::string pieces;
    for (const TokenId id : ids) {
      const std::string piece = stream.Push(id);
      ASSERT_TRUE(IsWellFormedUtf8(piece));
      pieces += piece;
    }
    pieces += stream.Finish();
    std::string expected;
    AppendWellFormed(*t->Decode(ids, false), false, &expected);
    ASSERT_EQ(pieces, expected);
  }
}

}  // namespace
}  // namespace nosa::text
