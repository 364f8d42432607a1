#include "ops/rope.h"

#include "compare.h"

namespace nosa::ops {
namespace {

std::vector<float> Frequencies(int64_t head_dim) {
  std::vector<float> inv_freq;
  for (int64_t i = 0; i < head_dim / 2; ++i) {
    inv_freq.push_back(
        static_cast<float>(std::pow(10000.0, -2.0 * static_cast<double>(i) / static_cast<double>(head_dim))));
  }
  return inv_freq;
}

TEST(RopeTest, MatchesTwin) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    const auto reference = reference::MakeReferenceBackend();
    for (const int64_t head_dim : {0, 2, 30, 32, 34, 64, 128, 130}) {
      for (const int64_t heads : {1, 3}) {
        for (const int64_t rows : {0, 1, 2, 200}) {
          SCOPED_TRACE(fmt::format("{} [{}, {}, {}]", each.name, rows, heads, head_dim));
          const Shape shape = {rows, heads, head_dim};
          const RandomTensor original(DType::kF32, shape, 1), expected(DType::kF32, shape, 1),
              actual(DType::kF32, shape, 1);
          std::vector<int32_t> positions;
          for (int64_t m = 0; m < rows; ++m)
            positions.push_back(static_cast<int32_t>(m < 3 ? 1'000'000 * (m + 1) : m * 41 - 123));
          const std::vector<float> inv_freq = Frequencies(head_dim);
          rope(*reference, {}, {.x = expected.view, .positions = positions, .inv_freq = inv_freq});
          rope(*backend, {}, {.x = actual.view, .positions = positions, .inv_freq = inv_freq});
          // Cosine and sine within one unit (two roundings), then the two products and their sum.
          const int64_t half = head_dim / 2;
          for (int64_t i = 0; i < shape.elements(); ++i) {
            const int64_t pair = i % head_dim < half ? i + half : i - half;
            ASSERT_NEAR(actual.At(i), expected.At(i),
                        5 * kRounding * (std::abs(original.At(i)) + std::abs(original.At(pair))))
                << i;
          }
        }
      }
    }
  }
}

TEST(RopeTest, TurnsByTheAngle) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    const std::vector<float> inv_freq = {1.5707963268f, 0.0f};  // a quarter turn a token, and none
    for (int32_t position = 0; position < 5; ++position) {
      TestVector<float> x = {3, 5, 4, 7};
      const std::vector<int32_t> positions = {position};
      rope(*backend, {}, {.x = {x.data(), DType::kF32, {1, 1, 4}}, .positions = positions, .inv_freq = inv_freq});
      const float first[] = {3, -4, -3, 4, 3}, second[] = {4, 3, -4, -3, 4};
      EXPECT_NEAR(x[0], first[position], 2e-6) << each.name;
      EXPECT_NEAR(x[2], second[position], 2e-6) << each.name;
      EXPECT_EQ(x[1], 5) << each.name;
      EXPECT_EQ(x[3], 7) << each.name;
    }
  }
}

}  // namespace
}  // namespace nosa::ops
