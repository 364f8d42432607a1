#include "ops/rms_norm.h"

#include "compare.h"

namespace nosa::ops {
namespace {

TEST(RmsNormTest, MatchesTwin) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    const auto reference = reference::MakeReferenceBackend();
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const int64_t width : {0, 1, 15, 16, 17, 64, 65, 448, 2052, 4099, 8200}) {
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

// A bf16 y is the f32 one rounded, wherever its rows lie; what lies between them stays.
TEST(RmsNormTest, Bf16OutputIsTheOtherRounded) {
  for (const TargetCase& each : TargetsAndReference()) {
    const auto backend = each.Make();
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      for (const int64_t width : {0, 1, 15, 16, 17, 64, 65, 448, 2052, 4099, 8200}) {
        for (const int64_t gap : {0, 1, 8}) {
          SCOPED_TRACE(fmt::format("{} {} [3, {}] gap {}", each.name, DTypeName(dtype), width, gap));
          const RandomTensor x(DType::kF32, {3, width}, 1, 3.0f), weight(dtype, {width}, 2);
          const RandomTensor exact(DType::kF32, {3, width}, 3);
          const RandomTensor before(DType::kBF16, {3, width + gap}, 4), memory(DType::kBF16, {3, width + gap}, 4);
          const TensorView y(memory.buffer.data(), DType::kBF16, {3, width}, width + gap);
          rms_norm(*backend, {}, {.x = x.view, .weight = weight.view, .y = exact.view});
          rms_norm(*backend, {}, {.x = x.view, .weight = weight.view, .y = y});
          EXPECT_TRUE(SameAsRounded(y, exact.view));
          for (int64_t i = 0; i < 3 * gap; ++i) {
            const int64_t at = i / gap * (width + gap) + width + i % gap;
            EXPECT_EQ(memory.At(at), before.At(at)) << at;
          }
        }
      }
    }
  }
}

TEST(RmsNormTest, Bf16OutputRoundsToNearestEven) {
  const std::vector<float> delicate = DelicateFloats();
  const int64_t width = static_cast<int64_t>(delicate.size());
  const TestVector<float> x(delicate.size(), 1.0f), weight(delicate.begin(), delicate.end());
  for (const TargetCase& each : TargetsAndReference()) {
    TestVector<BFloat16> y(delicate.size());
    rms_norm(*each.Make(), {},
             {.x = {x.data(), DType::kF32, {1, width}},
              .weight = {weight.data(), DType::kF32, {width}},
              .y = {y.data(), DType::kBF16, {1, width}},
              .eps = 0});
    for (size_t i = 0; i < y.size(); ++i) {
      if (std::isnan(delicate[i])) {
        EXPECT_TRUE(std::isnan(static_cast<float>(y[i]))) << each.name;
      } else {
        EXPECT_EQ(y[i].bits, BFloat16(delicate[i]).bits) << each.name << ", " << delicate[i];
      }
    }
  }
}

TEST(RmsNormTest, RefusesABf16YOverX) {
  const auto backend = reference::MakeReferenceBackend();
  const RandomTensor x(DType::kF32, {2, 8}, 1), weight(DType::kF32, {8}, 2);
  const TensorView y(x.buffer.data(), DType::kBF16, {2, 8});
  EXPECT_DEATH(rms_norm(*backend, {}, {.x = x.view, .weight = weight.view, .y = y}), "y \\[2, 8\\] overlaps x");
}

}  // namespace
}  // namespace nosa::ops
