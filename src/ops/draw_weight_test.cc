#include "ops/draw_weight.h"

#include <gtest/gtest.h>

#include <cmath>

namespace nosa::ops {
namespace {

constexpr uint32_t kOne = 1u << kDistanceBits;
constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kMost = std::numeric_limits<float>::max();

TEST(DrawWeight, WeightsAreTheExponential) {
  for (uint64_t distance = 0; distance < kTooFar; distance += 9973) {
    const double exact = std::exp2(kWeightBits - static_cast<double>(distance) / kOne);
    ASSERT_NEAR(static_cast<double>(WeightOf(static_cast<uint32_t>(distance))), exact, 0.5 + exact * 0x1p-26)
        << distance;
  }
  for (uint32_t halvings = 0; halvings <= kWeightBits; ++halvings)
    EXPECT_EQ(WeightOf(halvings * kOne), uint64_t{1} << (kWeightBits - halvings));
  EXPECT_EQ(WeightOf(kTooFar - 1), 1u);
  EXPECT_EQ(WeightOf(kTooFar), 0u);
  EXPECT_EQ(WeightOf(UINT32_MAX), 0u);
}

// Over all of the first halving every step shows, and none further down rises.
TEST(DrawWeight, WeightsNeverRise) {
  uint64_t before = WeightOf(0);
  for (uint32_t distance = 1; distance <= kOne + 1000; ++distance) {
    const uint64_t weight = WeightOf(distance);
    ASSERT_LT(weight, before) << distance;
    before = weight;
  }
  for (uint32_t halvings = 2; halvings <= kWeightBits; ++halvings) {
    before = WeightOf(halvings * kOne - 1000);
    for (uint32_t distance = halvings * kOne - 999; distance < halvings * kOne + 1000; ++distance) {
      ASSERT_LE(WeightOf(distance), before) << distance;
      before = WeightOf(distance);
    }
  }
}

TEST(DrawWeight, OnlyTheLargestLogitIsAtNoDistance) {
  const float scale = DistanceScale(1);
  EXPECT_EQ(DistanceOf(3, 3, scale), 0u);
  EXPECT_EQ(DistanceOf(0, -0.0f, scale), 0u);
  EXPECT_EQ(DistanceOf(-0.0f, 0, scale), 0u);
  EXPECT_EQ(DistanceOf(0.01f, std::nextafter(0.01f, 0.0f), scale), 1u) << "rounded up";
  EXPECT_NEAR(DistanceOf(7, 6, scale), kOne / std::log(2.0), 2);
  EXPECT_NEAR(DistanceOf(7, 6, DistanceScale(4)), kOne / std::log(2.0) / 4, 2);
  EXPECT_LT(DistanceOf(0, -27, scale), kTooFar);
  EXPECT_EQ(DistanceOf(0, -27.1f, scale), kTooFar);
}

TEST(DrawWeight, ExtremesStayNumbers) {
  for (const float temperature : {std::numeric_limits<float>::denorm_min(), 1e-30f, 1.0f, 100.0f}) {
    const float scale = DistanceScale(temperature);
    EXPECT_TRUE(std::isfinite(scale) && scale > 0) << temperature;
    EXPECT_EQ(DistanceOf(kMost, kMost, scale), 0u);
    EXPECT_EQ(DistanceOf(kMost, -kMost, scale), kTooFar);
    EXPECT_EQ(DistanceOf(-kMost, -kMost, scale), 0u);
    for (const float broken : {kInf, -kInf, std::nanf("")}) EXPECT_EQ(DistanceOf(1, broken, scale), kTooFar) << broken;
  }
}

TEST(DrawWeight, ProductsAreWhole) {
  EXPECT_EQ(MulHigh(UINT64_MAX, UINT64_MAX), UINT64_MAX - 1);
  EXPECT_EQ(MulHigh(uint64_t{1} << 63, 2), 1u);
  EXPECT_EQ(MulHigh(uint64_t{1} << 63, 1), 0u);
  const Philox rng(3);
  for (uint64_t i = 0; i < 1000; ++i) {
    const auto words = rng.Block(i);
    const uint64_t a = uint64_t{words[0]} << 32 | words[1], b = uint64_t{words[2]} << 32 | words[3];
    __extension__ using Wide = unsigned __int128;
    ASSERT_EQ(MulHigh(a, b), static_cast<uint64_t>(Wide{a} * b >> 64));
  }
}

TEST(DrawWeight, SharesAreExact) {
  EXPECT_EQ(WeightToReach(0.5f, 1000), 500u);
  EXPECT_EQ(WeightToReach(0.5f, 1001), 501u) << "up";
  EXPECT_EQ(WeightToReach(0.75f, uint64_t{1} << 62), uint64_t{3} << 60);
  EXPECT_EQ(WeightToReach(1e-30f, uint64_t{1} << 62), 1u) << "something is always wanted";
  const float below = std::nextafter(1.0f, 0.0f);
  EXPECT_EQ(WeightToReach(below, uint64_t{1} << 24), (uint64_t{1} << 24) - 1);
  EXPECT_EQ(LeastWeight(0), 0u);
  EXPECT_EQ(LeastWeight(1), uint64_t{1} << kWeightBits);
  EXPECT_EQ(LeastWeight(1e-30f), 1u);
  EXPECT_EQ(LeastWeight(0.25f), uint64_t{1} << (kWeightBits - 2));
}

// The draw of Uniform, with more digits.
TEST(DrawWeight, PointsAreTheUniformsOfTheCounter) {
  for (uint64_t counter = 0; counter < 100; ++counter)
    EXPECT_EQ(DrawnPoint(9, counter, 1 << 24), static_cast<uint64_t>(Philox(9).Uniform(counter) * 0x1p24f));
}

TEST(DrawWeight, ACutKeepsTheNearerAndTheLowerIds) {
  constexpr RankCut cut = {.distance = 7, .last = 3};
  EXPECT_TRUE(cut.Keeps(6, 100));
  EXPECT_TRUE(cut.Keeps(7, 3));
  EXPECT_FALSE(cut.Keeps(7, 4));
  EXPECT_FALSE(cut.Keeps(8, 0));
  EXPECT_TRUE(RankCut().Keeps(kTooFar - 1, INT32_MAX));
  EXPECT_FALSE(RankCut().Keeps(kTooFar, 0)) << "nothing without a weight";
}

}  // namespace
}  // namespace nosa::ops
