#include "text/grammar.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <string>

#include "base/clock.h"
#include "base/rng.h"
#include "text/token_masks.h"

namespace nosa::text {
namespace {

using GrammarPtr = std::shared_ptr<const Grammar>;

// Whether the text is in the language; with `begins`, whether it begins a text of it.
bool Accepts(const GrammarPtr& grammar, std::string_view text, bool begins = false) {
  GrammarMatcher matcher(std::make_shared<GrammarStates>(grammar));
  return matcher.AcceptBytes(text) && (begins || matcher.CanEnd());
}

GrammarPtr Text(std::string_view text) { return Grammar::FromText(text, "test").value(); }
GrammarPtr Schema(std::string_view json) { return Grammar::FromJsonSchema(json, "test").value(); }

TEST(GrammarTest, TextForm) {
  const GrammarPtr g =
      Text("# numbers\nroot ::= (item \",\")* item # end\nitem ::= [0-9]{2,3} | \"\\u00e9\" [^a-c,]+\n");
  for (const char* good : {"12", "123", "12,123", "\xC3\xA9z", "\xC3\xA9\xE2\x82\xAC,12"})
    EXPECT_TRUE(Accepts(g, good)) << good;
  for (const char* bad : {"", "1", "1234", "12,", "\xC3\xA9",
                          "\xC3\xA9"
                          "a",
                          "\xC3\xA9\x80"})
    EXPECT_FALSE(Accepts(g, bad)) << bad;
}

TEST(GrammarTest, RefusesWithAPlace) {
  for (const auto& [text, words] : std::initializer_list<std::pair<const char*, const char*>>{
           {"root ::= root \"a\" | \"b\"", "left recursion"},
           {"root ::= \"x\"? a\na ::= root", "left recursion"},
           {"a ::= \"x\"", "root"},
           {"root ::= b", "line 1, column 10"},
           {"root ::= \"a", "line 1"},
           {"root ::= [b-a]", "backwards"},
           {"root ::= \"a\" root", "no finite text"},
           {"root ::= (\"ab\"{300000}){300000}", "automaton nodes"}}) {
    const auto grammar = Grammar::FromText(text, "test");
    ASSERT_FALSE(grammar.ok()) << text;
    EXPECT_NE(grammar.status().message().find(words), std::string_view::npos) << grammar.status().message();
  }
}

TEST(GrammarTest, NestingIsBoundedAndCanBeFinished) {
  const GrammarPtr g = Text("root ::= \"(\" root \")\" | \"x\"");
  const std::string deep(kMaxGrammarDepth, '(');
  EXPECT_TRUE(Accepts(g, deep + "x" + std::string(deep.size(), ')')));
  EXPECT_FALSE(Accepts(g, deep + "(", true));
}

TEST(GrammarTest, Schemas) {
  const GrammarPtr object = Schema(R"({"type":"object","properties":{"a":{"type":"integer","minimum":-5,"maximum":120},
      "b":{"type":["string","null"],"maxLength":2}},"required":["a"],"additionalProperties":false})");
  for (const char* good : {R"({"a":120})", R"({"a": -5, "b":null})", R"({"a":0,"b":"\u00e9x"})", "{\n  \"a\": 7\n}"})
    EXPECT_TRUE(Accepts(object, good)) << good;
  for (const char* bad : {R"({})", R"({"a":121})", R"({"a":-6})", R"({"b":null})", R"({"a":1,"b":"abc"})",
                          R"({"a":1,"c":1})", R"({"a":01})", R"({"a":  1})", R"({"a":1} )"})
    EXPECT_FALSE(Accepts(object, bad)) << bad;
  const GrammarPtr tree = Schema(R"({"$ref":"#/$defs/n","$defs":{"n":{"type":"object","properties":{"v":{"const":1},
      "k":{"type":"array","items":{"$ref":"#/$defs/n"},"maxItems":2}},"required":["v"]}}})");
  EXPECT_TRUE(Accepts(tree, R"({"v":1,"k":[{"v":1},{"v":1,"k":[]}]})"));
  EXPECT_FALSE(Accepts(tree, R"({"v":1,"k":[{"v":1},{"v":1},{"v":1}]})"));
  const GrammarPtr others = Schema(R"({"properties":{"a":{"type":"null"}},"additionalProperties":{"type":"integer"}})");
  EXPECT_TRUE(Accepts(others, R"({"a":null,"ab":1,"":2})"));
  EXPECT_FALSE(Accepts(others, R"({"a":1})"));
  EXPECT_TRUE(Accepts(Schema(R"({"type":"string","format":"date"})"), "\"2024-02-28\""));
  EXPECT_FALSE(Accepts(Schema(R"({"type":"string","format":"date"})"), "\"2024-02-30\""));
  EXPECT_TRUE(Accepts(Grammar::AnyJsonObject(), R"({"a":[1.5e3,true,{"b":"\\n"}]})"));
  EXPECT_FALSE(Accepts(Grammar::AnyJsonObject(), "[]", true));
}

TEST(GrammarTest, IntegerRangesAreExact) {
  for (const auto& [least, most] :
       std::initializer_list<std::pair<int, int>>{{0, 0}, {-13, 7}, {9, 101}, {-120, -9}, {38, 245}}) {
    const GrammarPtr g = Schema(fmt::format(R"({{"type":"integer","minimum":{},"maximum":{}}})", least, most));
    for (int i = -300; i <= 300; ++i) EXPECT_EQ(Accepts(g, std::to_string(i)), least <= i && i <= most) << i;
  }
}

TEST(GrammarTest, RangesWithoutAnEndGoToTheLargestInteger) {
  for (const char* type : {"integer", "number"}) {
    const GrammarPtr up = Schema(fmt::format(R"({{"type":"{}","minimum":-5}})", type));
    EXPECT_TRUE(Accepts(up, "999999999999999999"));
    EXPECT_TRUE(Accepts(up, "-5"));
    EXPECT_FALSE(Accepts(up, "-6"));
    EXPECT_FALSE(Accepts(up, "1000000000000000000"));
    const GrammarPtr down = Schema(fmt::format(R"({{"type":"{}","maximum":900000000000000000}})", type));
    EXPECT_TRUE(Accepts(down, "-999999999999999999"));
    EXPECT_TRUE(Accepts(down, "900000000000000000"));
    EXPECT_FALSE(Accepts(down, "900000000000000001"));
  }
}

TEST(GrammarTest, UnsupportedKeywordsAreErrorsWithAPointer) {
  for (const auto& [json, words] : std::initializer_list<std::pair<const char*, const char*>>{
           {R"({"properties":{"a/b":{"not":{}}}})", "/properties/a~1b/not"},
           {R"({"type":"array","items":{"type":"array","uniqueItems":true}})", "/items/uniqueItems"},
           {R"({"oneOf":[{"type":"integer"},{"type":"number"}]})", "/oneOf"},
           {R"x({"type":"string","pattern":"(?=a)"})x", "/pattern"},
           {R"({"$ref":"#/$defs/x"})", "/$ref"},
           {R"({"$ref":"#"})", "left recursion"}}) {
    const auto grammar = Grammar::FromJsonSchema(json, "test");
    ASSERT_FALSE(grammar.ok()) << json;
    EXPECT_NE(grammar.status().message().find(words), std::string_view::npos) << grammar.status().message();
  }
}

// Masks along random texts against every token tried alone.
TEST(TokenMasksTest, AreWhatTryingEveryTokenGives) {
  const auto tokenizer = Tokenizer::FromFile(NOSA_SOURCE_DIR "/models/nosa-21m/tokenizer.json").value();
  const auto trie = TokenTrie::Of(*tokenizer, tokenizer->vocab_size());
  const GrammarPtr grammars[] = {Grammar::AnyJsonObject(), Text("root ::= ([a-z]+ \" \"?)* \".\""),
                                 Schema(R"({"type":"array","items":{"type":"string","maxLength":9},"minItems":2})")};
  for (const GrammarPtr& grammar : grammars) {
    TokenMasks masks(grammar, trie, {1});
    GrammarMatcher matcher = masks.Start();
    for (uint64_t step = 0; step < 40; ++step) {
      const auto mask = masks.Of(matcher);
      std::vector<TokenId> allowed;
      for (TokenId id = 0; id < tokenizer->vocab_size(); ++id) {
        GrammarMatcher copy = matcher;
        const bool text = !tokenizer->IsSpecial(id) && !tokenizer->TokenBytes(id).empty();
        const bool expected = id == 1 ? matcher.CanEnd() : text && copy.AcceptBytes(tokenizer->TokenBytes(id));
        ASSERT_EQ(mask->Allows(id), expected) << id << " at step " << step;
        if (expected && id != 1) allowed.push_back(id);
      }
      ASSERT_EQ(mask->tokens, static_cast<int32_t>(allowed.size()));
      if (allowed.empty()) break;
      ASSERT_TRUE(masks.Accept(allowed[Philox(3).Block(step)[0] % allowed.size()], &matcher));
    }
  }
}

// Prints what a mask costs for a vocabulary of 73k tokens: those of the demo model, and pairs of them.
TEST(TokenMasksTest, CostOfAMask) {
  const auto tokenizer = Tokenizer::FromFile(NOSA_SOURCE_DIR "/models/nosa-21m/tokenizer.json").value();
  std::vector<std::string> bytes;
  for (TokenId id = 3; id < tokenizer->vocab_size(); ++id) bytes.emplace_back(tokenizer->TokenBytes(id));
  const size_t own = bytes.size();
  for (uint64_t i = 0; bytes.size() < 73'000; ++i) {
    const auto random = Philox(9).Block(i);
    bytes.push_back(bytes[random[0] % own] + bytes[random[1] % own]);
  }
  const auto trie = std::make_shared<const TokenTrie>(std::move(bytes));
  TokenMasks masks(Schema(R"({"type":"object","properties":{"a":{"type":"string","maxLength":400},
      "b":{"type":"array","items":{"type":"number"}},"c":{}}, "required":["a","b","c"]})"),
                   trie, {});
  std::vector<double> times;
  for (uint64_t text = 0; text < 3; ++text) {
    GrammarMatcher matcher = masks.Start();
    for (uint64_t step = 0; step < 100; ++step) {
      const Stopwatch watch;
      const auto mask = masks.Of(matcher);
      times.push_back(watch.Seconds() * 1e3);
      if (mask->tokens == 0) break;
      uint64_t at = Philox(text).Block(step)[0] % trie->tokens().size();
      while (!masks.Accept(trie->tokens()[at], &matcher)) at = (at + 1) % trie->tokens().size();
    }
  }
  const double first = times.front();
  std::sort(times.begin(), times.end());
  fmt::print("masks over {} tokens, {} trie nodes: first {:.2f} ms, median {:.3f} ms, slowest {:.2f} ms\n",
             trie->tokens().size(), trie->nodes().size(), first, times[times.size() / 2], times.back());
}

}  // namespace
}  // namespace nosa::text
