// What is particular to int8; tests/conformance/kv has what every codec does.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "kv/codec.h"

namespace nosa::kv {
namespace {

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// One token whose K is `row` and whose V is one number; f32.
BlockLayout LayoutOf(size_t dim) {
  return {.layers = 1, .kv_heads = 1, .block_size = 1, .k_dim = static_cast<int>(dim), .v_dim = 1};
}

std::vector<float> RoundTrip(const std::vector<float>& row) {
  const BlockLayout layout = LayoutOf(row.size());
  const auto codec = MakeCodec("int8").value();
  std::vector<float> block(row), back(row.size() + 1);
  block.push_back(1);
  std::vector<std::byte> encoded(codec->EncodedBytes(layout));
  EXPECT_TRUE(codec->Encode(layout, std::as_bytes(std::span(block)), encoded).ok());
  const Status status = codec->Decode(layout, encoded, std::as_writable_bytes(std::span(back)));
  EXPECT_TRUE(status.ok()) << status.ToString();
  back.pop_back();
  return back;
}

TEST(Int8Codec, SizeIsOneBytePerValueAndOneScalePerRow) {
  const auto codec = MakeCodec("int8").value();
  const BlockLayout layout = {.layers = 2,
                              .kv_heads = 3,
                              .block_size = 64,
                              .k_dim = 128,
                              .v_dim = 96,
                              .dtype = DType::kBF16,
                              .has_importance = true};
  EXPECT_EQ(codec->EncodedBytes(layout), 64u * (128 + 96 + 4 + 4 + 4));
}

TEST(Int8Codec, RoundsToNearestStepOfTheRowsMaximum) {
  const std::vector<float> back = RoundTrip({127, -127, 0, 1, -1, 2.4f, 2.6f, -2.4f, -2.6f});
  EXPECT_EQ(back, (std::vector<float>{127, -127, 0, 1, -1, 2, 3, -2, -3}));
}

TEST(Int8Codec, RowsOfZerosStayZero) { EXPECT_EQ(RoundTrip({0, -0.0f, 0}), (std::vector<float>{0, 0, 0})); }

TEST(Int8Codec, WhatIsNotFiniteComesBackAsNanAndSpoilsNoOther) {
  const std::vector<float> back = RoundTrip({kNan, 127, kInf, 3, -kInf});
  EXPECT_TRUE(std::isnan(back[0]) && std::isnan(back[2]) && std::isnan(back[4]));
  EXPECT_EQ(back[1], 127);
  EXPECT_EQ(back[3], 3);
  for (const float value : RoundTrip({kInf, kNan})) EXPECT_TRUE(std::isnan(value));
}

// Up to the ends of float the largest value survives within the error of its neighbours; 1 / 127 where steps
// themselves are rounded.
TEST(Int8Codec, TheEndsOfTheRangeOfFloat) {
  constexpr float kMax = std::numeric_limits<float>::max(), kTiny = std::numeric_limits<float>::denorm_min();
  for (const float max :
       {kMax, std::nextafter(kMax, 0.0f), kTiny, 50 * kTiny, 64 * kTiny, 190 * kTiny, 1e-40f, 1e-37f}) {
    const std::vector<float> row = {max, -max, max / 2, 0};
    const std::vector<float> back = RoundTrip(row);
    for (size_t i = 0; i < row.size(); ++i) {
      EXPECT_LE(std::abs(double{back[i]} - row[i]), double{max} / 127) << "max " << max << ", value " << row[i];
    }
  }
}

TEST(Int8Codec, ScalesThatAreNoScalesAreDamage) {
  const BlockLayout layout = LayoutOf(4);
  const auto codec = MakeCodec("int8").value();
  std::vector<std::byte> block(layout.BlockBytes());
  for (const float scale : {kNan, kInf, -kInf, -1.0f, std::numeric_limits<float>::max()}) {
    for (const size_t place : {0, 4}) {  // of K, of V
      std::vector<std::byte> encoded(codec->EncodedBytes(layout));
      std::memcpy(encoded.data() + place, &scale, sizeof(scale));
      EXPECT_EQ(codec->Decode(layout, encoded, block).code(), StatusCode::kDataLoss) << scale;
    }
  }
}

TEST(Int8Codec, RefusesOtherElements) {
  BlockLayout layout = LayoutOf(4);
  layout.dtype = DType::kF16;
  const auto codec = MakeCodec("int8").value();
  std::vector<std::byte> block(layout.BlockBytes()), encoded(codec->EncodedBytes(layout));
  EXPECT_EQ(codec->Encode(layout, block, encoded).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(codec->Decode(layout, encoded, block).code(), StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace nosa::kv
