#include "ops/argmax.h"

#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/grain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/argmax.cc"
#include "backend/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {
HWY_INLINE FloatVec WithoutNan(FloatTag d, FloatVec v) {
  return hn::IfThenElse(hn::IsNaN(v), hn::Set(d, -HUGE_VALF), v);
}

// The maximum first, then its first place: the second pass needs no indices in registers and stops early.
HWY_INLINE TokenId ArgmaxRow(const float* x, size_t n) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  const size_t whole = n - n % lanes;
  auto max_lanes = hn::Set(d, -HUGE_VALF);
  for (size_t i = 0; i < whole; i += lanes) max_lanes = hn::Max(max_lanes, WithoutNan(d, LoadWide(d, x + i)));
  float max = MaxLane(d, max_lanes);
  for (size_t i = whole; i < n; ++i) {
    if (x[i] > max) max = x[i];
  }
  const auto wanted = hn::Set(d, max);
  for (size_t i = 0; i < whole; i += lanes) {
    const intptr_t lane = hn::FindFirstTrue(d, hn::Eq(LoadWide(d, x + i), wanted));
    if (lane >= 0) return static_cast<TokenId>(i + static_cast<size_t>(lane));
  }
  for (size_t i = whole; i < n; ++i) {
    if (x[i] == max) return static_cast<TokenId>(i);
  }
  return 0;  // nothing but NaN
}

void ArgmaxRows(const ops::ArgmaxArgs& args, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    args.ids[static_cast<size_t>(r)] = ArgmaxRow(args.logits.row<float>(r), static_cast<size_t>(args.logits.dim(1)));
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {
HWY_EXPORT(ArgmaxRows);

void argmax(ops::Backend& backend, ops::Stream, const ops::ArgmaxArgs& args) {
  const auto rows = HWY_DYNAMIC_DISPATCH(ArgmaxRows);
  ContextOf(backend).pool->ParallelFor(args.logits.rows(), RowsPerGrain(args.logits.dim(1)),
                                       [&](int64_t begin, int64_t end, int) { rows(args, begin, end); });
}

}  // namespace nosa::cpu
#endif
