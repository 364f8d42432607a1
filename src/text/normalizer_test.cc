#include "text/normalizer.h"

#include <gtest/gtest.h>
#include <unicode/normalizer2.h>

#include "base/clock.h"
#include "text/utf8.h"

namespace nosa::text {
namespace {

Normalizer Make(std::string_view name) {
  auto n = Normalizer::FromJson({{"type", name}});
  EXPECT_TRUE(n.ok()) << n.status().ToString();
  return *n;
}

TEST(Normalizer, Forms) {
  EXPECT_EQ(Make("NFC").Normalize("e\u0301 \u212B"), "\u00E9 \u00C5");
  EXPECT_EQ(Make("NFD").Normalize("\u00E9"), "e\u0301");
  EXPECT_EQ(Make("NFKC").Normalize("\uFB01\u00B2"), "fi2");
  EXPECT_EQ(Make("NFKD").Normalize("\uFB01\u00E9"), "fie\u0301");
  EXPECT_EQ(Make("NFC").Normalize(""), "");
}

// Later than Unicode 9, the version of the reference's tables, nothing reorders.
TEST(Normalizer, NewerCharactersStayWhereTheyAre) {
  EXPECT_EQ(Make("NFC").Normalize("\U00010D27\u1734"), "\U00010D27\u1734");
  EXPECT_EQ(Make("NFC").Normalize("a\u0301\u0323"), "\u1EA1\u0301");
}

// The runs we sort ourselves come out as ICU sorts them, on both sides of the length where we begin.
TEST(Normalizer, LongRunsEqualShortOnes) {
  const std::string units[] = {"\u0301\u0316", "\u0F73", "\u0344\u0323", "\uFF9E\u0301",
                               "\u0327\u0345\u0301\u0316\u0F72"};
  for (const std::string_view name : {"NFC", "NFD", "NFKC", "NFKD"}) {
    UErrorCode error = U_ZERO_ERROR;
    const bool k = name[2] == 'K';
    const auto* icu_form = icu::Normalizer2::getInstance(nullptr, k ? "nfkc" : "nfc",
                                                         name.back() == 'C' ? UNORM2_COMPOSE : UNORM2_DECOMPOSE, error);
    ASSERT_TRUE(U_SUCCESS(error));
    for (const std::string& unit : units) {
      std::string text = "e";
      for (int n = 0; n < 140; ++n, text += unit) {
        std::string expected;
        icu_form->normalize(icu::UnicodeString::fromUTF8(text + "a\u0301"), error).toUTF8String(expected);
        ASSERT_EQ(Make(name).Normalize(text + "a\u0301"), expected) << name << " " << n;
      }
    }
  }
}

// SortLongRuns sorts whole decompositions, which is right only if no starter stands inside one that begins
// with a mark.
TEST(Normalizer, NoMarkDecomposesToAStarter) {
  UErrorCode error = U_ZERO_ERROR;
  const auto* form = icu::Normalizer2::getNFKDInstance(error);
  for (UChar32 c = 0; c < 0x110000; ++c) {
    icu::UnicodeString d;
    if (!form->getDecomposition(c, d) || form->getCombiningClass(d.char32At(0)) == 0) continue;
    for (int32_t i = 0; i < d.length(); i = d.moveIndex32(i, 1))
      ASSERT_NE(form->getCombiningClass(d.char32At(i)), 0) << c;
  }
}

TEST(Normalizer, UnsortedMarksCostNoSquare) {
  std::string text;
  while (text.size() < (1 << 20)) text += "\u0301\u0316";
  const Stopwatch watch;
  EXPECT_EQ(Make("NFC").Normalize(text).size(), text.size());
  EXPECT_LT(watch.Seconds(), 20);
}

TEST(Normalizer, Errors) {
  EXPECT_EQ(Normalizer::FromJson({{"type", "Lowercase"}}).status().code(), StatusCode::kUnimplemented);
  EXPECT_EQ(Normalizer::FromJson({{"type", "Sequence"}}).status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(Normalizer::FromJson(3).status().code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(Normalizer::FromJson(nullptr)->identity());
}

}  // namespace
}  // namespace nosa::text
