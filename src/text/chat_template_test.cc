#include "text/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/clock.h"

namespace nosa::text {
namespace {

using io::OrderedJson;
using testing::AllOf;
using testing::HasSubstr;

// The text, or the error as "code: sentence".
std::string Render(std::string_view source, const OrderedJson& context = OrderedJson::object(),
                   const RenderLimits& limits = {}) {
  const auto parsed = ChatTemplate::Parse(source);
  if (!parsed.ok()) return parsed.status().ToString();
  const auto text = parsed->Render(context, limits, [] { return std::time_t{1721995200}; });
  return text.ok() ? *text : text.status().ToString();
}

TEST(ChatTemplate, RendersAConversation) {
  const auto context = OrderedJson::parse(R"({"bos_token": "<s>", "add_generation_prompt": true,
      "messages": [{"role": "user", "content": " hi "}, {"role": "assistant", "content": "yo"}]})");
  EXPECT_EQ(Render("{{ bos_token }}{% for m in messages %}\n[{{ m.role }}]{{ m['content'] | trim }}\n"
                   "{% endfor %}\n{% if add_generation_prompt %}[assistant]{% endif %}",
                   context),
            "<s>[user]hi\n[assistant]yo\n[assistant]");
}

TEST(ChatTemplate, WritesValuesAsPythonDoes) {
  EXPECT_EQ(Render("{{ [1, 2.0, 1e16, 1e-5, true, none, 'a\\'b', (1,), {'k': []}] }}"),
            "[1, 2.0, 1e+16, 1e-05, True, None, \"a'b\", (1,), {'k': []}]");
  EXPECT_EQ(Render("{{ -7 // 2 }} {{ -7 % 3 }} {{ 7 / 2 }} {{ 2 ** 10 }} {{ 9223372036854775807 - 1 }}"),
            "-4 2 3.5 1024 9223372036854775806");
}

TEST(ChatTemplate, KeepsTheOrderOfKeys) {
  EXPECT_EQ(Render("{{ x | tojson }}", {{"x", OrderedJson::parse(R"({"b": 1, "a": "é", "c": [1.0, null]})")}}),
            R"({"b": 1, "a": "é", "c": [1.0, null]})");
}

TEST(ChatTemplate, TellsTheTimeOfTheClockGiven) { EXPECT_EQ(Render("{{ strftime_now('%Y-%m-%d') }}"), "2024-07-26"); }

TEST(ChatTemplate, ErrorsNameTheLineAndTheConstruct) {
  EXPECT_EQ(Render("a\n{% if x %}"), "invalid argument: chat template, line 2: the template ends before the tag endif");
  EXPECT_EQ(Render("\n\n{{ x.y.z }}"), "invalid argument: chat template, line 3: \"x\" is undefined");
  EXPECT_THAT(Render("{% include 'x' %}"), HasSubstr("the tag include needs other templates"));
  EXPECT_THAT(Render("{{ raise_exception('no tools') }}"), HasSubstr("no tools"));
  EXPECT_THAT(Render("{{ 1 | nothing }}"), HasSubstr("the filter \"nothing\" is unknown"));
  EXPECT_THAT(Render("{{ [].append(1) }}"), HasSubstr("append"));
  EXPECT_THAT(Render("{{ 9223372036854775807 + 1 }}"), HasSubstr("64 bits"));
  EXPECT_THAT(Render("{{ '%.+s' % 1 }}{{ '%5.2#d' % 1 }}"), HasSubstr("conversion"));
  EXPECT_THAT(Render("{{ '%d' % 1e300 }}"), HasSubstr("64 bits"));
  EXPECT_THAT(Render("\xFF"), HasSubstr("UTF-8"));
  EXPECT_THAT(Render("x", OrderedJson::array()), HasSubstr("no JSON object"));
}

TEST(ChatTemplate, BoundsWhatATemplateMayCost) {
  const auto limited = AllOf(HasSubstr("resource exhausted"), HasSubstr("line 1"));
  EXPECT_THAT(Render("{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
                     OrderedJson::object(), {.max_steps = 1'000'000}),
              limited);
  EXPECT_THAT(Render("{{ range(100001) }}"), limited);
  EXPECT_THAT(Render("{{ 'x' * 99999999999 }}"), limited);
  EXPECT_THAT(Render("{% set n = namespace(s='x') %}{% for i in range(99) %}{% set n.s = n.s ~ n.s %}{% endfor %}",
                     OrderedJson::object(), {.max_value_bytes = 16 << 20}),
              limited);
  EXPECT_THAT(Render("{% set n = namespace(s=[]) %}{% for i in range(9999) %}{% set n.s = [n.s] %}{% endfor %}"),
              limited);
  EXPECT_THAT(Render("{% macro f(x) %}{{ f(x) }}{% endmacro %}{{ f(1) }}"), limited);
  EXPECT_THAT(Render("{{ " + std::string(5000, '(') + "1" + std::string(5000, ')') + " }}"), limited);
  std::string chain = "1";
  for (int i = 0; i < 5000; ++i) chain += "+1";
  EXPECT_THAT(Render("{{ " + chain + " }}"), limited);
  std::string tags;
  for (int i = 0; i < 5000; ++i) tags += "{% if 1 %}";
  EXPECT_THAT(Render(tags), limited);
  EXPECT_THAT(Render("{% for i in range(50) %}xxxx{% endfor %}", OrderedJson::object(), {.max_output_bytes = 100}),
              HasSubstr("the output is longer than 100 bytes"));
}

// Half a text's worth of needle that nearly fits everywhere: searching place by place would take minutes.
TEST(ChatTemplate, SearchesInLinearTime) {
  for (const std::string_view expression : {"(n + 'b') in t", "t.find(n + 'b')", "t.rfind('b' + n)", "t.count(n + 'b')",
                                            "t.split(n + 'b')|length", "t.rsplit('b' + n)|length"}) {
    const std::string source =
        fmt::format("{{% set n = 'a' * 200000 %}}{{% set t = 'a' * 400000 %}}{{{{ {} }}}}", expression);
    const Stopwatch watch;
    EXPECT_LE(Render(source).size(), 8u) << expression;
    EXPECT_LT(watch.Seconds(), 0.5) << expression;  // some milliseconds; a sanitizer's factor beside
  }
}

TEST(ChatTemplate, ShowsNothingOfPython) {
  EXPECT_EQ(Render("{{ ''.__class__ }}{{ {}.__init__ is defined }}"), "False");
}

class ChatTemplateLoader : public testing::Test {
 protected:
  ChatTemplateLoader() : directory_(std::filesystem::path(testing::TempDir()) / "chat_template") {
    std::filesystem::remove_all(directory_);
    std::filesystem::create_directories(directory_);
  }
  void Write(const std::string& name, std::string_view text) { std::ofstream(directory_ / name) << text; }

  const std::filesystem::path directory_;
};

TEST_F(ChatTemplateLoader, TakesTheFileBeforeTheField) {
  Write("tokenizer_config.json", R"({"chat_template": "field", "bos_token": {"content": "<s>"}, "eos_token": "</s>"})");
  auto loaded = LoadChatTemplate(directory_);
  ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
  EXPECT_EQ(*loaded->chat_template.Render(loaded->special_tokens), "field");
  Write("chat_template.jinja", "file {{ bos_token }}{{ eos_token }}");
  loaded = LoadChatTemplate(directory_);
  ASSERT_TRUE(loaded.ok()) << loaded.status().ToString();
  EXPECT_EQ(*loaded->chat_template.Render(loaded->special_tokens), "file <s></s>");
}

TEST_F(ChatTemplateLoader, TakesTheNamedOne) {
  Write("tokenizer_config.json",
        R"({"chat_template": [{"name": "default", "template": "a"}, {"name": "tool_use", "template": "b"}]})");
  EXPECT_EQ(*LoadChatTemplate(directory_)->chat_template.Render(OrderedJson::object()), "a");
  EXPECT_EQ(*LoadChatTemplate(directory_, "tool_use")->chat_template.Render(OrderedJson::object()), "b");
  EXPECT_THAT(std::string(LoadChatTemplate(directory_, "rag").status().message()), HasSubstr("none named \"rag\""));
}

TEST_F(ChatTemplateLoader, SaysWhatIsMissingOrWrong) {
  EXPECT_EQ(LoadChatTemplate(directory_).status().code(), StatusCode::kNotFound);
  Write("tokenizer_config.json", R"({"chat_template": 3})");
  EXPECT_THAT(std::string(LoadChatTemplate(directory_).status().message()), HasSubstr("neither a string nor a list"));
  Write("chat_template.jinja", "{{ 1");
  EXPECT_THAT(std::string(LoadChatTemplate(directory_).status().message()),
              AllOf(HasSubstr("chat_template.jinja"), HasSubstr("line 1")));
}

}  // namespace
}  // namespace nosa::text
