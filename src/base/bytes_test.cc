#include "base/bytes.h"

#include <gtest/gtest.h>

namespace nosa {
namespace {

TEST(ParseByteSize, TakesWhatPeopleWrite) {
  const std::pair<const char*, uint64_t> cases[] = {{"0", 0},
                                                    {"4096", 4096},
                                                    {"640B", 640},
                                                    {"512MiB", 512 * kMiB},
                                                    {"1.5GiB", 3 * kGiB / 2},
                                                    {"8 MiB", 8 * kMiB},
                                                    {"10GB", 10'000'000'000},
                                                    {"1KB", 1000},
                                                    {"2TiB", 2048 * kGiB},
                                                    {"0.5KiB", 512},
                                                    {"1MB", 1'000'000},
                                                    {"3TB", 3'000'000'000'000}};
  for (const auto& [text, bytes] : cases) {
    const auto parsed = ParseByteSize(text);
    ASSERT_TRUE(parsed.ok()) << parsed.status().ToString();
    EXPECT_EQ(*parsed, bytes) << text;
  }
}

TEST(ParseByteSize, RefusesTheRestAndSaysWhatItFound) {
  for (const char* text : {"", " ", "MiB", "-1", "-1MiB", "1mib", "1 XB", "1e3", "0x10", "1MiB ", " 1MiB", "1  MiB",
                           "nan", "inf", "infinity", "9223372036854775808", "99999999TiB", "1,5GiB", "1.5.5GiB"}) {
    const auto parsed = ParseByteSize(text);
    ASSERT_FALSE(parsed.ok()) << text << " gave " << *parsed;
    EXPECT_EQ(parsed.status().code(), StatusCode::kInvalidArgument);
    EXPECT_NE(parsed.status().message().find(std::string("\"") + text + "\""), std::string::npos);
  }
  EXPECT_FALSE(ParseByteSize(std::string_view("1\0MiB", 5)).ok());
}

TEST(FormatByteSize, OneDigitAndNeverFourBeforeThePoint) {
  const std::pair<uint64_t, const char*> cases[] = {{0, "0 B"},
                                                    {1023, "1023 B"},
                                                    {1024, "1.0 KiB"},
                                                    {1536, "1.5 KiB"},
                                                    {kMiB - 1, "1.0 MiB"},
                                                    {8 * kMiB, "8.0 MiB"},
                                                    {kGiB - 1, "1.0 GiB"},
                                                    {1000 * kKiB, "1000.0 KiB"},
                                                    {2048 * kGiB, "2.0 TiB"},
                                                    {UINT64_MAX, "16777216.0 TiB"}};
  for (const auto& [bytes, text] : cases) EXPECT_EQ(FormatByteSize(bytes), text);
}

TEST(FormatByteSize, ComesBackWithinItsRounding) {
  for (uint64_t bytes = 1; bytes < 1000 * kGiB; bytes = bytes * 7 / 3 + 1) {
    const auto back = ParseByteSize(FormatByteSize(bytes));
    ASSERT_TRUE(back.ok()) << back.status().ToString();
    EXPECT_NEAR(static_cast<double>(*back), static_cast<double>(bytes), 0.0501 * static_cast<double>(bytes));
  }
}

TEST(Rounding, AtTheEdges) {
  EXPECT_EQ(RoundUp(0, 64), 0u);
  EXPECT_EQ(RoundUp(1, 64), 64u);
  EXPECT_EQ(RoundUp(64, 64), 64u);
  EXPECT_EQ(RoundUp(65, 64), 128u);
  EXPECT_EQ(CeilDiv(0, 64), 0);
  EXPECT_EQ(CeilDiv(64, 64), 1);
  EXPECT_EQ(CeilDiv(65, 64), 2);
}

}  // namespace
}  // namespace nosa
