#include "text/utf8.h"

#include <gtest/gtest.h>

#include "text/byte_level.h"

namespace nosa::text {
namespace {

std::string Repair(std::string_view bytes) {
  std::string out;
  EXPECT_EQ(AppendWellFormed(bytes, false, &out), bytes.size());
  return out;
}

// One U+FFFD per maximal subpart: the examples of the Unicode standard, section 3.9, tables 3-8 to 3-11.
TEST(Utf8, ReplacesAsTheStandardSays) {
  const std::string r(kReplacementCharacter);
  EXPECT_EQ(Repair("\xC0\xAF\xE0\x80\xBF\xF0\x81\x82"
                   "A"),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(Repair("\xED\xA0\x80\xED\xBF\xBF\xED\xAF"
                   "A"),
            r + r + r + r + r + r + r + r + "A");
  EXPECT_EQ(Repair("\xF4\x91\x92\x93\xFF"
                   "A\x80\xBF"
                   "B"),
            r + r + r + r + r + "A" + r + r + "B");
  EXPECT_EQ(Repair("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF"
                   "A"),
            r + r + r + r + "A");
}

TEST(Utf8, EveryCharacterComesBack) {
  for (char32_t c = 0; c < 0x110000; ++c) {
    if (c == 0xD800) c = 0xE000;
    std::string s;
    AppendUtf8(c, &s);
    const Utf8Step step = DecodeUtf8(s);
    ASSERT_TRUE(step.ok && step.code_point == c && step.bytes == s.size()) << static_cast<uint32_t>(c);
    ASSERT_EQ(LastCharacterStart("ab" + s), 2u);
    ASSERT_TRUE(IsWellFormedUtf8(s));
    for (size_t cut = 1; cut < s.size(); ++cut) {
      ASSERT_TRUE(DecodeUtf8(s.substr(0, cut)).cut_short);
      ASSERT_FALSE(IsWellFormedUtf8("12345678" + s.substr(0, cut)));
    }
  }
}

TEST(Utf8, HoldsBackOnlyWhatMayBecomeACharacter) {
  std::string out;
  EXPECT_EQ(AppendWellFormed("ab\xF0\x9F\x98", true, &out), 2u);
  EXPECT_EQ(AppendWellFormed("\xF0\x9F"
                             "c",
                             true, &out),
            3u);
  EXPECT_EQ(AppendWellFormed("\xFF", true, &out), 1u);
  EXPECT_EQ(out,
            "ab\xEF\xBF\xBD"
            "c\xEF\xBF\xBD");
}

TEST(ByteLevel, EveryByteComesBack) {
  std::string bytes;
  for (int b = 0; b < 256; ++b) bytes.push_back(static_cast<char>(b));
  const std::string written = ToByteLevel(bytes);
  EXPECT_TRUE(IsWellFormedUtf8(written));
  EXPECT_EQ(FromByteLevel(written), bytes);
  EXPECT_EQ(ToByteLevel(" a\n"), "\u0120a\u010A");
  EXPECT_EQ(FromByteLevel("a b"), std::nullopt);
  EXPECT_EQ(FromByteLevel("\u0144"), std::nullopt);  // one past the last
}

}  // namespace
}  // namespace nosa::text
