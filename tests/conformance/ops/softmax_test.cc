#include "ops/softmax.h"

#include "compare.h"

namespace nosa::ops {
namespace {

TEST(SoftmaxTest, MatchesTwin) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    const auto reference = reference::MakeReferenceBackend();
    for (const float scale : {1.0f, 0.3f, 5.0f}) {
      for (const int64_t width : {1, 15, 16, 17, 64, 65, 5000}) {
        for (const int64_t rows : {0, 1, 9}) {
          SCOPED_TRACE(fmt::format("{} [{}, {}] x {}", each.name, rows, width, scale));
          const RandomTensor x(DType::kF32, {rows, width}, 1, 2.0f);
          const RandomTensor expected(DType::kF32, {rows, width}, 2), actual(DType::kF32, {rows, width}, 3);
          softmax(*reference, {}, {.x = x.view, .y = expected.view, .scale = scale});
          softmax(*backend, {}, {.x = x.view, .y = actual.view, .scale = scale});
          // An argument (x - max) * scale, at most 2 * 2 * 6 standard deviations, has two roundings, which the
          // exponential turns into relative error; the exponential has four, the sum `width`, the division three.
          const double relative = (2 * 24 * scale + 7 + static_cast<double>(width)) * kRounding;
          ExpectClose(actual.view, expected.view, relative, 1e-37);
          for (int64_t r = 0; r < rows; ++r) {
            double sum = 0;
            for (int64_t i = 0; i < width; ++i) sum += actual.view.row<float>(r)[i];
            EXPECT_NEAR(sum, 1.0, static_cast<double>(width + 3) * kRounding);
          }
          softmax(*backend, {}, {.x = x.view, .y = x.view, .scale = scale});
          EXPECT_TRUE(SameBits(x.view, actual.view)) << "in place";
        }
      }
    }
  }
}

TEST(SoftmaxTest, MinusInfinityIsExactlyZeroAndLargeLogitsDoNotOverflow) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    for (const int64_t width : {2, 16, 17, 40}) {
      SCOPED_TRACE(fmt::format("{} {}", each.name, width));
      TestVector<float> x(static_cast<size_t>(width), -INFINITY), y(x);
      x.back() = 1e30f;
      softmax(*backend, {}, {.x = {x.data(), DType::kF32, {1, width}}, .y = {y.data(), DType::kF32, {1, width}}});
      for (size_t i = 0; i + 1 < y.size(); ++i) EXPECT_EQ(y[i], 0.0f);
      EXPECT_EQ(y.back(), 1.0f);
    }
  }
}

}  // namespace
}  // namespace nosa::ops
