#include "example_op.h"

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/grain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "tests/recipes/example_op_cpu.cc"
#include "backend/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {

void ScaleRows(const ops::ScaleRowsArgs& args, int64_t begin, int64_t end) {
  const FloatTag d;
  const size_t lanes = FloatLanes(), n = static_cast<size_t>(args.x.dim(1));
  for (int64_t m = begin; m < end; ++m) {
    const auto factor = hn::Set(d, *args.factor.row<float>(m));
    const float* x = args.x.row<float>(m);
    float* y = args.y.row<float>(m);
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) StoreWide(d, hn::Mul(LoadWide(d, x + i), factor), y + i);
    if (i < n) StoreWideN(d, hn::Mul(LoadWideN(d, x + i, n - i), factor), y + i, n - i);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {
HWY_EXPORT(ScaleRows);

void scale_rows(ops::Backend& backend, ops::Stream, const ops::ScaleRowsArgs& args) {
  const auto rows = HWY_DYNAMIC_DISPATCH(ScaleRows);
  ContextOf(backend).pool->ParallelFor(args.x.rows(), RowsPerGrain(args.x.dim(1)),
                                       [&](int64_t begin, int64_t end, int) { rows(args, begin, end); });
}

}  // namespace nosa::cpu
#endif
