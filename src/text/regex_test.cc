#include "text/regex.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/clock.h"
#include "text/regex_syntax.h"

namespace nosa::text {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<std::string> Matches(std::string_view pattern, std::string_view text) {
  const auto regex = Regex::Compile(pattern);
  EXPECT_TRUE(regex.ok()) << regex.status().ToString();
  std::vector<std::string> out;
  if (regex.ok()) regex->ForEachMatch(text, [&](size_t b, size_t e) { out.emplace_back(text.substr(b, e - b)); });
  return out;
}

// Each of these means something else to PCRE2 as it stands; the expected values are Oniguruma's.
TEST(Regex, MeansWhatItMeansInRuby) {
  EXPECT_THAT(Matches(R"(\h)", "a b z"), ElementsAre("a", "b"));
  EXPECT_THAT(Matches(R"(\v)",
                      "a\x0b"
                      "b\x0c"),
              ElementsAre("\x0b"));
  EXPECT_THAT(Matches(R"(\s)", "a\u180Eb\u2003"), ElementsAre("\u2003"));
  EXPECT_THAT(Matches(R"([^\S])", "a\u180Eb\u2003"), ElementsAre("\u2003"));
  EXPECT_THAT(Matches(R"(\w+)", "e\u0301_ \u00B2\u203F"), ElementsAre("e\u0301_", "\u00B2\u203F"));
  EXPECT_THAT(Matches(R"(\bx)", "x e\u0301x ax x"), ElementsAre("x", "x"));
  EXPECT_THAT(Matches(R"(a$)", "a\nb a"), ElementsAre("a", "a"));
  EXPECT_THAT(Matches(R"(\u00e9|\x{1F600})", "\u00E9\U0001F600"), ElementsAre("\u00E9", "\U0001F600"));
  EXPECT_THAT(Matches(R"((?i:'s)|\p{N}{1,3})", "'\u017F1234"), ElementsAre("'\u017F", "123", "4"));
  EXPECT_THAT(Matches("[]a]{", "]{a{"), ElementsAre("]{", "a{"));
}

TEST(Regex, EmptyMatchesDoNotFollowAMatch) {
  EXPECT_THAT(Matches("x*", "axb"), ElementsAre("", "x", ""));
  EXPECT_THAT(Matches("", "\u00E9"), ElementsAre("", ""));
}

TEST(Regex, RefusesWhatItCannotTranslate) {
  for (const char* pattern : {R"(\p{L}{1,3}+)", "a{,2}", "a{2}?", "[a&&b]", "[a[b]]", "(?m:.)", "(*FAIL)", R"(\Ka)",
                              R"(\k<n>)", R"([\W])", R"(\xff)", "a(?i)b", R"(\C)", "(?<n>a)"}) {
    const auto translated = TranslatePattern(pattern);
    EXPECT_EQ(translated.status().code(), StatusCode::kUnimplemented) << pattern;
    EXPECT_THAT(std::string(translated.status().message()), HasSubstr(pattern));
  }
  for (const char* pattern : {"(", "a)", "[a", R"(\p{Klingon})", "a{3,2}", "\\"})
    EXPECT_EQ(Regex::Compile(pattern).status().code(), StatusCode::kInvalidArgument) << pattern;
  EXPECT_EQ(Regex::Compile(std::string(100'000, 'a')).status().code(), StatusCode::kInvalidArgument);
}

TEST(Regex, LiteralIsLiteral) {
  const auto regex = Regex::Literal("(a.*");
  ASSERT_TRUE(regex.ok());
  size_t found = 0;
  regex->ForEachMatch("(a.* (ab", [&](size_t b, size_t e) { found += e - b; });
  EXPECT_EQ(found, 4u);
}

// A group that repeats needs memory for each round, more than the stack of compiled code.
TEST(Regex, LongMatchesLeaveTheStack) {
  const std::string text(300'000, 'a');
  EXPECT_THAT(Matches("(?:a|b)+c|(?:a|b)+", text), ElementsAre(text));
}

TEST(Regex, GivesUpOnRunawaySearches) {
  const Stopwatch watch;
  EXPECT_THAT(Matches("(?:a+)+b", std::string(5000, 'a')), ElementsAre());
  EXPECT_LT(watch.Seconds(), 60);
}

}  // namespace
}  // namespace nosa::text
