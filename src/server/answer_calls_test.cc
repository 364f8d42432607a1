#include "server/answer_calls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "server/test_util.h"

namespace nosa::server {
namespace {

using testing::ElementsAre;

ToolRequest TwoTools() {
  return {.tools = {{"add", {}}, {"now", {}}}, .for_template = {}, .choice = {ToolChoice::Kind::kAuto, ""}};
}

// "content|name(arguments)|name(arguments)".
std::string Shown(const ParsedAnswer& parsed) {
  std::string shown = parsed.content;
  for (const ToolCall& call : parsed.calls) shown += "|" + call.name + "(" + call.arguments + ")";
  return shown;
}

std::string Read(std::string_view answer, const ToolRequest& tools = TwoTools()) {
  return Shown(ParseAnswer(answer, tools));
}

TEST(AnswerCallsTest, AreFoundBetweenTags) {
  EXPECT_EQ(Read("Sure. <tool_call>\n{\"name\":\"add\",\"arguments\":{\"a\":1}}\n</tool_call> "),
            "Sure.|add({\"a\":1})");
  EXPECT_EQ(Read(" \n<tool_call>{\"name\":\"now\"}</tool_call> and <tool_call>{\"name\":\"add\"}"), "|now({})|add({})");
  EXPECT_EQ(Read("<tool_call>[{\"name\":\"now\"}, {\"name\":\"add\",\"arguments\":\"{}\"}]</tool_call>"),
            "|now({})|add({})");
  // A tag in a text is a text.
  EXPECT_EQ(Read("<tool_call>{\"name\":\"add\",\"arguments\":{\"a\":\"</tool_call>\"}}</tool_call>"),
            "|add({\"a\":\"</tool_call>\"})");
  EXPECT_THAT(ParseAnswer("<tool_call>{\"name\":\"add\"}", TwoTools()).calls[0].id,
              testing::MatchesRegex("call_[0-9A-Za-z]+"));
}

TEST(AnswerCallsTest, AreFoundAsBareJson) {
  EXPECT_EQ(Read("{\"name\":\"now\",\"parameters\":{}}"), "|now({})");
  EXPECT_EQ(Read("  {\"name\":\"now\"} \n"), "|now({})");
  EXPECT_EQ(Read("[{\"name\":\"now\"},{\"name\":\"add\",\"arguments\":\"{}\"}]"), "|now({})|add({})");
}

TEST(AnswerCallsTest, ArgumentsAreAsTheModelWroteThem) {
  EXPECT_EQ(Read("{\"name\": \"add\", \"arguments\": { \"a\" : [1.50, {}],\n\"b\":\"\\u00e9}\\\"\" }, \"x\":1}"),
            "|add({ \"a\" : [1.50, {}],\n\"b\":\"\\u00e9}\\\"\" })");
  EXPECT_EQ(Read("{\"arguments\":{\"a\":1},\"name\":\"add\"}"), "|add({\"a\":1})");            // before the name
  EXPECT_EQ(Read("{\"name\":\"add\",\"arguments\":\"{\\\"a\\\": 1}\"}"), "|add({\"a\": 1})");  // as text
  EXPECT_EQ(Read("{\"name\":\"add\",\"arguments\":null,\"parameters\":7}"), "|add(7)");
  EXPECT_EQ(Read("{\"name\":\"add\",\"arguments\":{},\"parameters\":{\"a\":1},\"name\":\"now\"}"), "|add({})");
  EXPECT_EQ(Read("{\"na\\u006de\":\"a\\u0064d\"}"), "|add({})");
}

TEST(AnswerCallsTest, WhatIsNoCallIsContent) {
  for (const std::string_view text : {"{\"name\":\"sub\"}",
                                      "<tool_call>{\"name\":\"sub\"}</tool_call>",
                                      "<tool_call>x",
                                      "text ",
                                      "[]",
                                      "[{\"name\":\"now\"},5]",
                                      "{\"name\":5}",
                                      "",
                                      "  ",
                                      "\n{",
                                      "{}",
                                      "{\"name\":\"add\"",
                                      "{\"name\":\"add\" x}",
                                      "[1] is no call",
                                      "a < b <tool_ <<tool_call",
                                      "<tool_call>[{\"name\":\"now\"}",
                                      "{\"arguments\":{\"a\":1}}",
                                      "{\"name\":[\"add\"],\"arguments\":{}}",
                                      "{\"name\":\"add\",\"arguments\":wrong}",
                                      " \n<tool_call> \n"}) {
    EXPECT_EQ(Read(text), text);
  }
}

TEST(AnswerCallsTest, OneThatBeganIsACallHoweverItEnds) {
  EXPECT_EQ(Read("Yes <tool_call>{\"name\":\"add\",\"arguments\":{\"a\":\"1"), "Yes|add({\"a\":\"1)");
  EXPECT_EQ(Read("{\"name\":\"add\",\"arguments\":{\"a\":1</tool_call><tool_call>{\"name\":\"now\"}"),
            "|add({\"a\":1)|now({})");
  EXPECT_EQ(Read("{\"name\":\"add\",\"arguments\":{}} and more"), "|add({})");
}

TEST(AnswerCallsTest, ReadingGoesOnAfterWhatIsNoCall) {
  EXPECT_EQ(Read("x <tool_call>no</tool_call> y  <tool_call>{\"name\":\"now\"}</tool_call>"),
            "x <tool_call>no</tool_call> y|now({})");
  EXPECT_EQ(Read("<tool_call> <tool_call>{\"name\":\"now\"}"), "<tool_call>|now({})");
  EXPECT_EQ(Read("x <tool_ <tool_call>{\"name\":\"now\"}"), "x <tool_|now({})");
  EXPECT_EQ(Read("<<tool_call>{\"name\":\"now\"}"), "<|now({})");
  EXPECT_EQ(Read("{\"a\":1} <tool_call>{\"name\":\"now\"}"), "{\"a\":1}|now({})");
  EXPECT_EQ(Read("<tool_call>{\"name\":\"now\"}</tool_call><tool_call>{\"name\":\"sub\"}</tool_call>"), "|now({})");
}

TEST(AnswerCallsTest, OneTooManyIsDropped) {
  ToolRequest single = TwoTools();
  single.parallel = false;
  EXPECT_EQ(Read("<tool_call>{\"name\":\"add\"}</tool_call><tool_call>{\"name\":\"now\"}", single), "|add({})");
  EXPECT_EQ(Read("[{\"name\":\"now\"},{\"name\":\"add\"}]", single), "|now({})");
}

using Kind = AnswerPiece::Kind;

MATCHER_P2(Is, kind, text, "") { return arg.kind == kind && arg.text == text; }

TEST(AnswerReaderTest, TellsWhatIsCertainAtOnce) {
  const ToolRequest tools = TwoTools();
  AnswerReader reader(tools);
  const auto add = [&](std::string_view text) {
    std::vector<AnswerPiece> pieces;
    reader.Add(text, &pieces);
    return pieces;
  };
  EXPECT_THAT(add("I add \n"), ElementsAre(Is(Kind::kContent, "I add")));
  EXPECT_THAT(add("<tool"), ElementsAre());
  EXPECT_THAT(add("_x"), ElementsAre(Is(Kind::kContent, " \n<tool_x")));
  EXPECT_THAT(add(".<tool_call>{\"name\": \"add\", \"arg"), ElementsAre(Is(Kind::kContent, ".")));
  EXPECT_THAT(add("uments\": {\"a\""), ElementsAre(Is(Kind::kCall, "add"), Is(Kind::kArguments, "{\"a\"")));
  EXPECT_THAT(add(": 1"), ElementsAre(Is(Kind::kArguments, ": 1")));
  EXPECT_THAT(add("}}</tool_call> <tool_call>{\"name\":\"now\"}"),
              ElementsAre(Is(Kind::kArguments, "}"), Is(Kind::kCall, "now"), Is(Kind::kArguments, "{}")));
}

// Answers of pieces that make calls, near misses and nonsense.
std::string RandomAnswer(std::mt19937& random) {
  static constexpr std::string_view kParts[] = {"<tool_call>",
                                                "</tool_call>",
                                                "{\"name\": \"add\"",
                                                ", \"arguments\": {\"a\": [1, \"}\\\"\"]}",
                                                "{\"name\":\"sub\"",
                                                "}",
                                                ",",
                                                "[",
                                                "]",
                                                "{",
                                                "\"",
                                                "\\",
                                                " ",
                                                "\n",
                                                "<",
                                                "<tool",
                                                "text \xC3\xA9",
                                                "\"arguments\":\"{\\\"b\\\":2}\"",
                                                "{\"name\":\"now\"}",
                                                "\"name\":\"add\"",
                                                ":",
                                                "7",
                                                "null",
                                                "{\"arguments\": {\"x\": {}}, \"name\": \"now\"}"};
  std::string answer;
  for (size_t n = random() % 14; n > 0; --n) answer += kParts[random() % std::size(kParts)];
  return answer;
}

// However an answer is cut, the pieces make the same as the whole.
TEST(AnswerReaderTest, PiecesMakeTheWhole) {
  const ToolRequest tools = TwoTools();
  std::mt19937 random(7);
  int with_calls = 0;
  for (int round = 0; round < 20000; ++round) {
    const std::string answer = RandomAnswer(random);
    const std::string whole = Read(answer);
    with_calls += whole.find('|') != std::string::npos ? 1 : 0;
    AnswerReader reader(tools);
    ParsedAnswer made;
    for (size_t at = 0; at <= answer.size();) {
      std::vector<AnswerPiece> pieces;
      const size_t n = random() % 6;
      at < answer.size() ? reader.Add(std::string_view(answer).substr(at, n), &pieces) : reader.Finish(&pieces);
      at += at < answer.size() ? std::min(n, answer.size() - at) : 1;
      for (const AnswerPiece& piece : pieces) {
        ASSERT_FALSE(piece.text.empty());
        if (piece.kind == Kind::kContent) {
          ASSERT_TRUE(made.calls.empty()) << answer;
          made.content += piece.text;
        } else if (piece.kind == Kind::kCall) {
          made.calls.push_back({"", piece.text, ""});
        } else {
          made.calls.back().arguments += piece.text;
        }
      }
    }
    ASSERT_EQ(Shown(made), whole) << answer;
    if (made.calls.empty()) ASSERT_EQ(made.content, answer);
  }
  EXPECT_GT(with_calls, 1000);
  EXPECT_LT(with_calls, 19000);
}

}  // namespace
}  // namespace nosa::server
