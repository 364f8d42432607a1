#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/chat_request.h"
#include "server/completion_request.h"
#include "server/test_util.h"
#include "text/grammar_matcher.h"

namespace nosa::server {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

struct CompletionFixture {
  CompletionRequest request;
  // The error's message; "" when there is none.
  std::string Parse(std::string_view body) {
    static GrammarCache grammars;
    request = {};
    const auto error = ParseCompletionRequest(Json(body), *ShippedTokenizer(), {}, &grammars, &request);
    return error ? error->message : "";
  }
};

TEST(CompletionRequestTest, PromptsComeInFourForms) {
  CompletionFixture f;
  EXPECT_EQ(f.Parse(R"({"model":"m","prompt":"def"})"), "");
  ASSERT_EQ(f.request.prompts.size(), 1u);
  const std::vector<TokenId> def = f.request.prompts[0];
  EXPECT_EQ(f.request.params.max_tokens, 16);
  EXPECT_EQ(f.request.params.request.sampling.temperature, 1);
  EXPECT_EQ(f.Parse(R"({"model":"m","prompt":["def","def"]})"), "");
  EXPECT_THAT(f.request.prompts, ElementsAre(def, def));
  EXPECT_EQ(f.Parse(R"({"model":"m","prompt":[5,6]})"), "");
  EXPECT_THAT(f.request.prompts, ElementsAre(ElementsAre(5, 6)));
  EXPECT_EQ(f.Parse(R"({"model":"m","prompt":[[5,6],[7]]})"), "");
  EXPECT_THAT(f.request.prompts, ElementsAre(ElementsAre(5, 6), ElementsAre(7)));
}

TEST(CompletionRequestTest, Refuses) {
  CompletionFixture f;
  const auto prompt = [](std::string_view prompt, std::string_view more = "") {
    return R"({"model":"m","prompt":)" + std::string(prompt) + std::string(more) + "}";
  };
  EXPECT_THAT(f.Parse(prompt("\"\"")), HasSubstr("empty prompt"));
  EXPECT_THAT(f.Parse(prompt("[]")), HasSubstr("empty prompt"));
  EXPECT_THAT(f.Parse(prompt("[5,\"a\"]")), HasSubstr("'prompt[1]'"));
  EXPECT_THAT(f.Parse(prompt("[8192]")), HasSubstr("from 0 to 8191, but got 8192"));
  EXPECT_THAT(f.Parse(prompt("[-1]")), HasSubstr("but got -1"));
  EXPECT_THAT(f.Parse(prompt("[[5],[]]")), HasSubstr("'prompt[1]'"));
  EXPECT_THAT(f.Parse(prompt("[[5],7]")), HasSubstr("'prompt[1]'"));
  EXPECT_THAT(f.Parse(prompt("\"a\"", R"(,"n":3,"best_of":2)")), HasSubstr("at least n, 3, but got 2"));
  EXPECT_THAT(f.Parse(prompt("\"a\"", R"(,"best_of":2,"stream":true)")), HasSubstr("stream"));
  EXPECT_THAT(f.Parse(prompt("\"a\"", R"(,"max_tokens":0)")), HasSubstr("echo"));
  EXPECT_EQ(f.Parse(prompt("\"a\"", R"(,"max_tokens":0,"echo":true)")), "");
  EXPECT_THAT(f.Parse(prompt("[\"a\",\"b\"]", R"(,"n":128)")), HasSubstr("256 answers, at most 128"));
  EXPECT_THAT(f.Parse(prompt("\"a\"", R"(,"stream_options":{"include_usage":true})")),
              HasSubstr("'stream' is enabled"));
  EXPECT_THAT(f.Parse(prompt("\"a\"", R"(,"stream":true,"stream_options":{"usage":true})")),
              HasSubstr("stream_options.usage"));
  EXPECT_THAT(f.Parse(prompt("\"a\"", R"(,"logit_bias":{"x":1})")), HasSubstr("token ids"));
  EXPECT_THAT(f.Parse(prompt("\"a\"", R"(,"logit_bias":{"5":101})")), HasSubstr("from -100 to 100"));
  EXPECT_THAT(f.Parse(prompt("\"a\"", R"(,"stop":["a",""])")), HasSubstr("1 to 1024 bytes"));
  EXPECT_THAT(f.Parse(prompt("\"a\"", R"(,"stop":[1])")), HasSubstr("'stop[0]'"));
  EXPECT_THAT(f.Parse(prompt("\"a\"", R"(,"response_format":{"type":"xml"})")), HasSubstr("'xml'"));
  EXPECT_THAT(f.Parse(prompt("\"a\"", R"(,"response_format":{"type":"json_schema","json_schema":{"schema":{}}})")),
              HasSubstr("json_schema.name"));
  EXPECT_THAT(
      f.Parse(prompt("\"a\"",
                     R"(,"response_format":{"type":"json_schema","json_schema":{"name":"x","schema":{"not":{}}}})")),
      HasSubstr("/not"));
  EXPECT_THAT(f.Parse(prompt("\"a\"", R"(,"grammar":"root ::= x")")), HasSubstr("x"));
  EXPECT_THAT(f.Parse(prompt("\"a\"", R"(,"grammar":"root ::= \"x\"","ignore_eos":true)")), HasSubstr("ignore_eos"));
}

TEST(CompletionRequestTest, ReadsHowItIsDrawn) {
  CompletionFixture f;
  EXPECT_EQ(f.Parse(R"({"model":"m","prompt":"a","temperature":0.5,"top_p":0.25,"top_k":7,"min_p":0.125,"seed":-1,
      "presence_penalty":1,"frequency_penalty":-2,"logit_bias":{"5":-100,"9":2.5},"stop":["x","y"],"n":2,"best_of":3,
      "logprobs":4,"echo":true,"max_tokens":9})"),
            "");
  const engine::SamplingParams& sampling = f.request.params.request.sampling;
  EXPECT_EQ(sampling.temperature, 0.5f);
  EXPECT_EQ(sampling.top_p, 0.25f);
  EXPECT_EQ(sampling.top_k, 7);
  EXPECT_EQ(sampling.min_p, 0.125f);
  EXPECT_EQ(sampling.presence_penalty, 1);
  EXPECT_EQ(sampling.frequency_penalty, -2);
  EXPECT_THAT(sampling.logit_bias, ElementsAre(std::pair(5, -100.0f), std::pair(9, 2.5f)));
  EXPECT_EQ(f.request.params.seed, ~uint64_t{0});
  EXPECT_THAT(f.request.params.request.stop, ElementsAre("x", "y"));
  EXPECT_EQ(f.request.params.choices, 2);
  EXPECT_EQ(f.request.best_of, 3);
  EXPECT_EQ(f.request.params.logprobs, 4);
  EXPECT_TRUE(f.request.echo);
  EXPECT_EQ(f.request.params.max_tokens, 9);
  EXPECT_TRUE(sampling.Validate().ok());
  // The likeliest token alone.
  EXPECT_EQ(f.Parse(R"({"model":"m","prompt":"a","top_p":0})"), "");
  EXPECT_EQ(f.request.params.request.sampling.temperature, 0);
}

TEST(GrammarCacheTest, GivesTheSameGrammarAgain) {
  GrammarCache cache;
  const auto a = cache.Get(GrammarCache::Form::kText, "root ::= \"a\"");
  ASSERT_TRUE(a.ok());
  EXPECT_EQ(*a, *cache.Get(GrammarCache::Form::kText, "root ::= \"a\""));
  for (int i = 0; i < 20; ++i)
    ASSERT_TRUE(cache.Get(GrammarCache::Form::kText, fmt::format("root ::= \"{}\"", i)).ok());
  EXPECT_NE(*a, *cache.Get(GrammarCache::Form::kText, "root ::= \"a\""));  // it had gone
}

struct ChatFixture {
  ChatRequest request;
  std::string Parse(std::string_view body, const ChatFormat& format) {
    static GrammarCache grammars;
    request = {};
    const auto error = ParseChatRequest(Json(body), *ShippedTokenizer(), format, {}, &grammars, &request);
    return error ? error->message : "";
  }
  // The prompt as text, special tokens in angle brackets.
  std::string Prompt() const { return *ShippedTokenizer()->Decode(request.prompt, true); }
};

std::string Messages(std::string_view messages, std::string_view more = "") {
  return R"({"model":"m","messages":)" + std::string(messages) + std::string(more) + "}";
}

TEST(ChatRequestTest, WithoutATemplateATranscriptIsContinued) {
  const auto plain = ChatFormat::Load(testing::TempDir() + "/nowhere", std::nullopt);
  ASSERT_TRUE(plain.ok()) << plain.status().ToString();
  ChatFixture f;
  EXPECT_EQ(
      f.Parse(Messages(R"([{"role":"system","content":"Be brief."},{"role":"user","content":"Hi</s>"}])"), *plain), "");
  EXPECT_EQ(f.Prompt(), "System: Be brief.\n\nUser: Hi</s>\n\nAssistant:");
  // Names of special tokens are text there.
  EXPECT_THAT(f.request.prompt, testing::Not(testing::Contains(1)));
  EXPECT_THAT(f.request.params.request.stop, ElementsAre("\n\nUser:"));
  EXPECT_FALSE(plain->takes_tools());
  EXPECT_THAT(f.Parse(Messages(R"([{"role":"user","content":"a"}])",
                               R"(,"tools":[{"type":"function","function":{"name":"f"}}])"),
                      *plain),
              HasSubstr("its chat template does not mention them"));
}

TEST(ChatRequestTest, ReadsMessages) {
  const ChatFormat format = FormatOf(kToolTemplate);
  ChatFixture f;
  EXPECT_EQ(f.Parse(Messages(R"([{"role":"developer","content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]},
      {"role":"assistant","content":null,"refusal":null,"tool_calls":[{"id":"1","type":"function","function":{"name":"f","arguments":"{\"x\": 1}"}}]},
      {"role":"tool","tool_call_id":"1","content":"ok"}])"),
                    format),
            "");
  EXPECT_EQ(f.Prompt(),
            "<s>system: ab</s>\n<s>assistant: <tool_call>{\"name\": \"f\", \"arguments\": {\"x\": 1}}</tool_call></s>\n"
            "<s>tool: ok</s>\n<s>assistant: ");
  EXPECT_THAT(f.request.prompt, testing::Contains(0));  // the template's <s> is the token
  for (const auto& [messages, message] : std::vector<std::pair<std::string, std::string>>{
           {R"([1])", "'messages[0]'"},
           {R"([{"content":"a"}])", "'messages[0].role'"},
           {R"([{"role":"king","content":"a"}])", "'king'"},
           {R"([{"role":"user"}])", "'messages[0].content'"},
           {R"([{"role":"user","content":5}])", "'messages[0].content'"},
           {R"([{"role":"user","content":[{"type":"image_url","image_url":{}}]}])", "'image_url'"},
           {R"([{"role":"user","content":[{"type":"text"}]}])", "'messages[0].content[0].text'"},
           {R"([{"role":"user","content":"a","weight":1}])", "messages[0].weight"},
           {R"([{"role":"user","content":"a","tool_calls":[]}])", "only an assistant calls"},
           {R"([{"role":"tool","content":"a"}])", "tool_call_id"},
           {R"([{"role":"assistant","tool_calls":[{"function":{"name":"f","arguments":"[1]"}}]}])", "JSON object"},
           {R"([{"role":"assistant","tool_calls":[{"id":"1"}]}])", "tool_calls[0].function"},
       }) {
    EXPECT_THAT(f.Parse(Messages(messages), format), HasSubstr(message)) << messages;
  }
}

TEST(ChatRequestTest, AskedLogprobs) {
  const ChatFormat format = FormatOf(kToolTemplate);
  ChatFixture f;
  const std::string_view hi = R"([{"role":"user","content":"a"}])";
  EXPECT_EQ(f.Parse(Messages(hi), format), "");
  EXPECT_EQ(f.request.params.logprobs, -1);
  EXPECT_EQ(f.Parse(Messages(hi, R"(,"logprobs":true)"), format), "");
  EXPECT_EQ(f.request.params.logprobs, 0);
  EXPECT_EQ(f.Parse(Messages(hi, R"(,"logprobs":true,"top_logprobs":3)"), format), "");
  EXPECT_EQ(f.request.params.logprobs, 3);
  EXPECT_THAT(f.Parse(Messages(hi, R"(,"top_logprobs":3)"), format), HasSubstr("'logprobs' is enabled"));
  EXPECT_EQ(f.Parse(Messages(hi, R"(,"max_tokens":5,"max_completion_tokens":7)"), format), "");
  EXPECT_EQ(f.request.params.max_tokens, 7);
}

constexpr std::string_view kTools =
    R"(,"tools":[{"type":"function","function":{"name":"add","parameters":{"type":"object","properties":{"a":{"$ref":"#/$defs/n"}},"required":["a"],"$defs":{"n":{"type":"integer","minimum":1,"maximum":3}}}}},
       {"type":"function","function":{"name":"now"}}])";

TEST(ToolsTest, AreChecked) {
  const ChatFormat format = FormatOf(kToolTemplate);
  ChatFixture f;
  const auto parse = [&](std::string more) {
    return f.Parse(Messages(R"([{"role":"user","content":"a"}])", more), format);
  };
  EXPECT_EQ(parse(std::string(kTools)), "");
  EXPECT_EQ(f.request.tools.choice.kind, ToolChoice::Kind::kAuto);
  EXPECT_THAT(f.Prompt(), HasSubstr("<s>tools: [{"));
  EXPECT_EQ(f.request.params.request.grammar, nullptr);
  EXPECT_EQ(parse(std::string(kTools) + R"(,"tool_choice":"none")"), "");
  EXPECT_THAT(f.Prompt(), testing::Not(HasSubstr("<s>tools: [{")));
  EXPECT_THAT(parse(R"(,"tool_choice":"auto")"), HasSubstr("when 'tools' are specified"));
  EXPECT_THAT(parse(std::string(kTools) + R"(,"tool_choice":"some")"), HasSubstr("'some'"));
  EXPECT_THAT(parse(std::string(kTools) + R"(,"tool_choice":{"type":"function","function":{"name":"sub"}})"),
              HasSubstr("'sub' not found"));
  EXPECT_THAT(parse(R"(,"tools":[{"type":"function","function":{"name":"a b"}}])"), HasSubstr("1 to 64 of"));
  EXPECT_THAT(parse(R"(,"tools":[{"type":"function"}])"), HasSubstr("tools[0].function"));
  EXPECT_THAT(parse(R"(,"tools":[{"type":"web"}])"), HasSubstr("'web'"));
  EXPECT_THAT(
      parse(R"(,"tools":[{"type":"function","function":{"name":"a"}},{"type":"function","function":{"name":"a"}}])"),
      HasSubstr("two are named 'a'"));
  EXPECT_THAT(
      parse(
          R"(,"tools":[{"type":"function","function":{"name":"a","parameters":{"not":{}}}}],"tool_choice":"required")"),
      HasSubstr("Invalid parameters"));
  EXPECT_THAT(parse(std::string(kTools) + R"(,"tool_choice":"required","response_format":{"type":"json_object"})"),
              HasSubstr("no other form"));
}

bool Accepts(const std::shared_ptr<const text::Grammar>& grammar, std::string_view text) {
  text::GrammarMatcher matcher(std::make_shared<text::GrammarStates>(grammar));
  return matcher.AcceptBytes(text) && matcher.CanEnd();
}

TEST(ToolsTest, AForcedCallIsHeldToItsParameters) {
  const ChatFormat format = FormatOf(kToolTemplate);
  ChatFixture f;
  EXPECT_EQ(
      f.Parse(Messages(R"([{"role":"user","content":"a"}])", std::string(kTools) + R"(,"tool_choice":"required")"),
              format),
      "");
  EXPECT_THAT(f.Prompt(), testing::EndsWith("<tool_call>\n"));
  auto grammar = f.request.params.request.grammar;
  EXPECT_TRUE(Accepts(grammar, R"({"name": "add", "arguments": {"a": 2}})"));
  EXPECT_FALSE(Accepts(grammar, R"({"name": "add", "arguments": {"a": 4}})"));  // the reference was followed
  EXPECT_FALSE(Accepts(grammar, R"({"name": "sub", "arguments": {"a": 2}})"));
  EXPECT_TRUE(Accepts(grammar, R"({"name": "now", "arguments": {}})"));
  EXPECT_FALSE(Accepts(grammar, R"({"name": "now", "arguments": {"a": 1}})"));  // it takes none
  EXPECT_EQ(f.Parse(Messages(R"([{"role":"user","content":"a"}])",
                             std::string(kTools) + R"(,"tool_choice":{"type":"function","function":{"name":"add"}})"),
                    format),
            "");
  EXPECT_FALSE(Accepts(f.request.params.request.grammar, R"({"name": "now", "arguments": {}})"));
}

}  // namespace
}  // namespace nosa::server
