#include "server/responses.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "server/metrics.h"
#include "server/test_util.h"

namespace nosa::server {
namespace {

using engine::FinishReason;
using testing::HasSubstr;

const ResponseHead kHead = {"id-1", 5, "m"};

TEST(ResponsesTest, Chat) {
  const Choice choice = {.index = 0, .text = "Hi", .logprobs = {}, .reason = FinishReason::kEos, .usage = {}};
  const UsageSum usage = {10, 4, 2};
  EXPECT_EQ(
      io::DumpJson(ChatJson(kHead, {&choice, 1}, {}, usage, *ShippedTokenizer())),
      R"({"id":"id-1","object":"chat.completion","created":5,"model":"m","choices":[{"index":0,"message":)"
      R"({"role":"assistant","content":"Hi","refusal":null},"logprobs":null,"finish_reason":"stop"}],"usage":)"
      R"({"prompt_tokens":10,"completion_tokens":2,"total_tokens":12,"prompt_tokens_details":{"cached_tokens":4}}})");
}

TEST(ResponsesTest, AChatWithCallsHasNoContent) {
  const ToolRequest tools = {.tools = {{"f", {}}}, .for_template = {}, .choice = {ToolChoice::Kind::kAuto, ""}};
  const Choice choice = {.index = 0,
                         .text = "{\"name\":\"f\",\"arguments\":{\"x\":1}}",
                         .logprobs = {},
                         .reason = FinishReason::kEos,
                         .usage = {}};
  const io::OrderedJson json = ChatJson(kHead, {&choice, 1}, tools, {}, *ShippedTokenizer());
  const io::OrderedJson& message = json["choices"][0]["message"];
  EXPECT_TRUE(message["content"].is_null());
  EXPECT_EQ(message["tool_calls"][0]["type"], "function");
  EXPECT_EQ(message["tool_calls"][0]["function"]["name"], "f");
  EXPECT_EQ(message["tool_calls"][0]["function"]["arguments"], "{\"x\":1}");  // text, not JSON
  EXPECT_EQ(json["choices"][0]["finish_reason"], "tool_calls");
}

TEST(ResponsesTest, ACallInAStreamBeginsAndGoesOn) {
  EXPECT_EQ(io::DumpJson(CallBeginJson(1, {"call_x", "f", ""})),
            R"([{"index":1,"id":"call_x","type":"function","function":{"name":"f","arguments":""}}])");
  EXPECT_EQ(io::DumpJson(CallArgumentsJson(1, "{\"a")), R"([{"index":1,"function":{"arguments":"{\"a"}}])");
}

TEST(ResponsesTest, FinishReasons) {
  EXPECT_EQ(FinishJson(FinishReason::kStop), "stop");
  EXPECT_EQ(FinishJson(FinishReason::kEos), "stop");
  EXPECT_EQ(FinishJson(FinishReason::kEos, true), "tool_calls");
  EXPECT_EQ(FinishJson(FinishReason::kLength), "length");
  EXPECT_EQ(FinishJson(FinishReason::kLength, true), "length");  // a call that was cut
  EXPECT_TRUE(FinishJson(FinishReason::kNone).is_null());
}

// The ids of a two-byte character in pieces, and of a word.
struct Pieces {
  std::vector<TokenId> ids = ShippedTokenizer()->Encode("def", {.add_special_tokens = false});
  TokenId half = -1;  // a token that is no character
  Pieces() {
    for (TokenId id = 0; id < ShippedTokenizer()->vocab_size() && half < 0; ++id) {
      if (ShippedTokenizer()->TokenBytes(id) == "\xC3") half = id;
    }
  }
};

TEST(ResponsesTest, ChatLogprobs) {
  const Pieces pieces;
  ASSERT_GE(pieces.half, 0);
  const engine::PositionLogprobs tokens[] = {
      {{pieces.ids[0], -0.5f}, {{pieces.ids[0], -0.5f}, {pieces.half, -INFINITY}}}};
  EXPECT_EQ(io::DumpJson(ChatLogprobsJson(tokens, *ShippedTokenizer())),
            R"({"content":[{"token":"def","logprob":-0.5,"bytes":[100,101,102],"top_logprobs":[)"
            R"({"token":"def","logprob":-0.5,"bytes":[100,101,102]},)"
            "{\"token\":\"\xEF\xBF\xBD\",\"logprob\":-9999.0,\"bytes\":[195]}]}],\"refusal\":null}");
}

TEST(ResponsesTest, TextLogprobs) {
  const Pieces pieces;
  const TokenId def = pieces.ids[0];
  const engine::PositionLogprobs tokens[] = {
      {{def, NAN}, {}}, {{pieces.half, -1}, {{def, -0.5f}}}, {{def, -2}, {{def, -2}}}};
  int64_t offset = 3;
  EXPECT_EQ(io::DumpJson(TextLogprobsJson(tokens, *ShippedTokenizer(), &offset)),
            R"({"tokens":["def","bytes:\\xc3","def"],"token_logprobs":[null,-1.0,-2.0],)"
            R"("top_logprobs":[null,{"def":-0.5,"bytes:\\xc3":-1.0},{"def":-2.0}],"text_offset":[3,6,7]})");
  EXPECT_EQ(offset, 10);
}

TEST(ResponsesTest, Events) {
  EXPECT_EQ(SseEvent(Json(R"({"a":"x\ny"})")), "data: {\"a\":\"x\\ny\"}\n\n");  // no line break inside
  EXPECT_EQ(io::DumpJson(ChatChunk(kHead, 2, {{"content", "x"}})),
            R"({"id":"id-1","object":"chat.completion.chunk","created":5,"model":"m","choices":[)"
            R"({"index":2,"delta":{"content":"x"},"logprobs":null,"finish_reason":null}]})");
  EXPECT_EQ(UsageChunk(kHead, "text_completion", {})["choices"].size(), 0u);
}

TEST(MetricsTest, Text) {
  MetricsText text;
  text.Family("a_total", "counter", "Counts a.");
  const std::pair<std::string_view, std::string_view> labels[] = {{"x", "q\"\\\n"}, {"y", ""}};
  text.Sample(3, labels);
  text.Sample(0.5);
  EXPECT_EQ(text.Take(),
            "# HELP a_total Counts a.\n# TYPE a_total counter\na_total{x=\"q\\\"\\\\\\n\",y=\"\"} 3\na_total 0.5\n");
}

TEST(MetricsTest, HistogramsCountWhatIsBelow) {
  SecondsHistogram histogram;
  histogram.Observe(0.0005);
  histogram.Observe(0.001);
  histogram.Observe(0.0015);
  histogram.Observe(1e6);
  MetricsText text;
  text.Family("h", "histogram", "H.");
  histogram.Write(&text);
  const std::string written = text.Take();
  EXPECT_THAT(written, HasSubstr("h_bucket{le=\"0.001\"} 2\n"));
  EXPECT_THAT(written, HasSubstr("h_bucket{le=\"0.002\"} 3\n"));
  EXPECT_THAT(written, HasSubstr("h_bucket{le=\"131.072\"} 3\n"));
  EXPECT_THAT(written, HasSubstr("h_bucket{le=\"+Inf\"} 4\n"));
  EXPECT_THAT(written, HasSubstr("h_count 4\n"));
}

}  // namespace
}  // namespace nosa::server
