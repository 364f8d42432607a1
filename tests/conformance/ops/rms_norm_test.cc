#include "ops/rms_norm.h"

#include "compare.h"

namespace nosa::ops {
namespace {

TEST(RmsNormTest, MatchesTwin) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    const auto reference = reference::MakeReferenceBackend();
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const int64_t width : {0, 1, 15, 16, 17, 64, 65, 448}) {
        for (const int64_t rows : {0, 1, 3, 300}) {
          SCOPED_TRACE(fmt::format("{} {} [{}, {}]", each.name, DTypeName(dtype), rows, width));
          const RandomTensor x(DType::kF32, {rows, width}, 1, 3.0f), weight(dtype, {width}, 2);
          const RandomTensor expected(DType::kF32, {rows, width}, 3), actual(DType::kF32, {rows, width}, 4);
          rms_norm(*reference, {}, {.x = x.view, .weight = weight.view, .y = expected.view});
          rms_norm(*backend, {}, {.x = x.view, .weight = weight.view, .y = actual.view});
          // The squares' sum is off by at most width roundings, its root by half as many; five operations follow.
          ExpectClose(actual.view, expected.view, (0.5 * static_cast<double>(width) + 6) * kRounding, 0);
          rms_norm(*backend, {}, {.x = x.view, .weight = weight.view, .y = x.view});
          EXPECT_TRUE(SameBits(x.view, actual.view)) << "in place";
        }
      }
    }
  }
}

TEST(RmsNormTest, EpsDecidesForSmallRows) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    TestVector<float> x(20, 1e-4f), weight(20, 1.0f), y(20);
    rms_norm(*backend, {},
             {.x = {x.data(), DType::kF32, {1, 20}},
              .weight = {weight.data(), DType::kF32, {20}},
              .y = {y.data(), DType::kF32, {1, 20}},
              .eps = 3e-8f});
    EXPECT_NEAR(y[19], 0.5, 1e-6) << each.name;  // 1e-4 / sqrt(1e-8 + 3e-8)
  }
}

}  // namespace
}  // namespace nosa::ops
