#include "example_op.h"

#include "../conformance/ops/compare.h"

namespace nosa::ops {
namespace {

// One rounding: no room for a difference.
TEST(ScaleRowsTest, SameBitsAsTheTwin) {
  for (const TargetCase& each : TargetCases()) {
    const auto backend = each.Make();
    const auto reference = reference::MakeReferenceBackend();
    for (const int64_t width : {0, 1, 15, 16, 17, 64, 65, 1216}) {
      for (const int64_t rows : {0, 1, 3, 40}) {
        SCOPED_TRACE(fmt::format("{} [{}, {}]", each.name, rows, width));
        const Shape shape = {rows, width};
        const RandomTensor x(DType::kF32, shape, 1), factor(DType::kF32, {rows}, 2, 30.0f);
        const RandomTensor expected(DType::kF32, shape, 3), actual(DType::kF32, shape, 4);
        scale_rows(*reference, {}, {.x = x.view, .factor = factor.view, .y = expected.view});
        scale_rows(*backend, {}, {.x = x.view, .factor = factor.view, .y = actual.view});
        EXPECT_TRUE(SameBits(actual.view, expected.view));
        scale_rows(*backend, {}, {.x = x.view, .factor = factor.view, .y = x.view});
        EXPECT_TRUE(SameBits(x.view, expected.view)) << "y is x";
      }
    }
  }
}

TEST(ScaleRowsTest, RefusesOtherShapes) {
  const auto backend = cpu::MakeCpuBackend(1);
  const RandomTensor x(DType::kF32, {2, 3}, 1), factor(DType::kF32, {3}, 2);
  EXPECT_DEATH(scale_rows(*backend, {}, {.x = x.view, .factor = factor.view, .y = x.view}),
               "scale_rows: factor: expected f32 \\[2\\], found f32 \\[3\\]");
}

}  // namespace
}  // namespace nosa::ops
