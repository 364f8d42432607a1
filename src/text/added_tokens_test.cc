#include "text/added_tokens.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fmt/core.h>

#include "base/clock.h"

namespace nosa::text {
namespace {

using testing::ElementsAre;

// "text" as it is, tokens as "#id".
std::vector<std::string> Split(const AddedTokenMatcher& matcher, std::string_view text, bool skip_special = false) {
  std::vector<TextSegment> segments;
  matcher.Split(text, skip_special, &segments);
  std::vector<std::string> out;
  for (const TextSegment& s : segments) out.push_back(s.id < 0 ? std::string(s.text) : fmt::format("#{}", s.id));
  return out;
}

TEST(AddedTokens, LongestOfTheLeftmost) {
  const AddedTokenMatcher m({{.id = 1, .content = "ab"},
                             {.id = 2, .content = "abcd"},
                             {.id = 3, .content = "bcde"},
                             {.id = 4, .content = "ab"},
                             {.id = 5, .content = ""}});
  EXPECT_THAT(Split(m, "abcde"), ElementsAre("#2", "e"));
  EXPECT_THAT(Split(m, "xabcbcde"), ElementsAre("x", "#1", "c", "#3"));
  EXPECT_THAT(Split(m, "abab"), ElementsAre("#1", "#1"));
  EXPECT_THAT(Split(m, ""), ElementsAre());
  EXPECT_THAT(Split(AddedTokenMatcher(), "abc"), ElementsAre("abc"));
}

TEST(AddedTokens, SpecialOnesAreTextWhenSkipped) {
  const AddedTokenMatcher m(
      {{.id = 1, .content = "<s>", .special = true}, {.id = 2, .content = "s"}, {.id = 3, .content = "x"}});
  EXPECT_THAT(Split(m, "<s>sx"), ElementsAre("#1", "#2", "#3"));
  EXPECT_THAT(Split(m, "<s>sx", true), ElementsAre("<s>", "#2", "#3"));
}

TEST(AddedTokens, StripAndSingleWord) {
  const AddedTokenMatcher m({{.id = 1, .content = "<l>", .lstrip = true},
                             {.id = 2, .content = "<r>", .rstrip = true},
                             {.id = 3, .content = "w", .single_word = true}});
  EXPECT_THAT(Split(m, "a \u3000<l> b"), ElementsAre("a", "#1", " b"));
  EXPECT_THAT(Split(m, "a <r>\u2003 b"), ElementsAre("a ", "#2", "b"));
  EXPECT_THAT(Split(m, "<r>  <l>"), ElementsAre("#2", "#1"));
  EXPECT_THAT(Split(m, "w ww w\u0301 \u00E9w w_ (w)"), ElementsAre("#3", " ww w\u0301 \u00E9w w_ (", "#3", ")"));
}

// Tokens inside whitespace that another one took along: the reference stops there, we go on, and quickly.
TEST(AddedTokens, WhitespaceTokensCostNoSquare) {
  const AddedTokenMatcher m({{.id = 1, .content = " ", .lstrip = true, .rstrip = true}});
  const Stopwatch watch;
  EXPECT_EQ(Split(m, std::string(1 << 20, ' ')).size(), 1u << 20);
  EXPECT_LT(watch.Seconds(), 20);
}

}  // namespace
}  // namespace nosa::text
