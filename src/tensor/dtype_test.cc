#include "tensor/dtype.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

namespace nosa {
namespace {

float FromBits(uint32_t bits) { return std::bit_cast<float>(bits); }

TEST(DType, NamesComeBack) {
  for (const DType dtype :
       {DType::kF32, DType::kBF16, DType::kF16, DType::kF64, DType::kI64, DType::kI32, DType::kU8, DType::kBool}) {
    EXPECT_EQ(*ParseDType(DTypeName(dtype)), dtype);
    EXPECT_GT(DTypeBytes(dtype), 0u);
  }
  EXPECT_EQ(ParseDType("fp8").status().message(), "expected a type such as f32 or bf16, found \"fp8\"");
  EXPECT_FALSE(ParseDType("?").ok());
  EXPECT_FALSE(ParseDType("").ok());
}

TEST(BFloat16, EveryValueSurvivesWideningAndRounding) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    BFloat16 value;
    value.bits = static_cast<uint16_t>(bits);
    const float wide = static_cast<float>(value);
    const BFloat16 back(wide);
    if (std::isnan(wide)) {
      EXPECT_TRUE(std::isnan(static_cast<float>(back))) << bits;
      EXPECT_EQ(back.bits, bits | 0x40u) << "payload and sign stay, the NaN becomes quiet";
    } else {
      EXPECT_EQ(back.bits, bits);
    }
  }
}

// For each pair of neighbours: just below, at and just above the middle.
TEST(BFloat16, RoundsToNearestTiesToEven) {
  for (uint32_t bits = 0; bits <= 0xffff; ++bits) {
    if ((bits & 0x7f80u) == 0x7f80u) continue;  // infinities and NaNs have no middle above them
    const uint32_t below = bits << 16, up = bits + 1;
    ASSERT_EQ(BFloat16(FromBits(below | 0x7fffu)).bits, bits);
    ASSERT_EQ(BFloat16(FromBits(below | 0x8000u)).bits, bits % 2 == 0 ? bits : up);
    ASSERT_EQ(BFloat16(FromBits(below | 0x8001u)).bits, up);
  }
}

TEST(BFloat16, TheEndsOfTheRange) {
  const float inf = std::numeric_limits<float>::infinity();
  EXPECT_EQ(BFloat16(inf).bits, 0x7f80);
  EXPECT_EQ(BFloat16(-inf).bits, 0xff80);
  EXPECT_EQ(BFloat16(std::numeric_limits<float>::max()).bits, 0x7f80);  // nearer to infinity than to 0x7f7f
  EXPECT_EQ(BFloat16(FromBits(0x7f7f7fffu)).bits, 0x7f7f);
  EXPECT_EQ(BFloat16(0.0f).bits, 0);
  EXPECT_EQ(BFloat16(-0.0f).bits, 0x8000);
  EXPECT_EQ(BFloat16(std::numeric_limits<float>::denorm_min()).bits, 0);
  // A NaN whose payload lies in the lost bits must not become an infinity.
  EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(FromBits(0x7f800001u)))));
  EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(FromBits(0xffffffffu)))));
}

TEST(LoadStore, WidenAndRound) {
  BFloat16 narrow[2];
  StoreFloat(narrow, DType::kBF16, 1, 1.0f + 0x1p-8f);  // a tie: to even
  EXPECT_EQ(LoadFloat(narrow, DType::kBF16, 1), 1.0f);
  EXPECT_EQ(LoadFloat(narrow, DType::kBF16, 0), 0.0f);
  float wide[2] = {};
  StoreFloat(wide, DType::kF32, 1, 1.0f + 0x1p-8f);
  EXPECT_EQ(LoadFloat(wide, DType::kF32, 1), 1.0f + 0x1p-8f);
  EXPECT_EQ(wide[0], 0.0f);
}

}  // namespace
}  // namespace nosa
