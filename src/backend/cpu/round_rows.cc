#include "backend/cpu/round_rows.h"

#include "backend/cpu/grain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/round_rows.cc"
#include "backend/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {

void RoundRow(const float* x, BFloat16* y, size_t n) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  size_t i = 0;
  for (; i + lanes <= n; i += lanes) StoreWide(d, LoadWide(d, x + i), y + i);
  if (i < n) StoreWideN(d, LoadWideN(d, x + i, n - i), y + i, n - i);
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {

HWY_EXPORT(RoundRow);

void RoundRows(CpuContext& context, ConstTensorView x, BFloat16* y) {
  const int64_t width = x.dim(1);
  const auto round = HWY_DYNAMIC_DISPATCH(RoundRow);
  context.pool->ParallelFor(x.rows(), RowsPerGrain(width), [&](int64_t begin, int64_t end, int) {
    for (int64_t m = begin; m < end; ++m) round(x.row<float>(m), y + m * width, static_cast<size_t>(width));
  });
}

}  // namespace nosa::cpu
#endif
