#include "ops/swiglu.h"

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/grain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/swiglu.cc"
#include "backend/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {
HWY_INLINE FloatVec Gated(FloatTag d, FloatVec gate, FloatVec up) {
  const auto divisor = hn::Add(hn::Set(d, 1.0f), Exp(d, hn::Neg(gate)));
  return hn::Mul(hn::Div(gate, divisor), up);
}

template <typename Y>
void SwigluRowsAs(const ops::SwigluArgs& args, int64_t begin, int64_t end) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  const size_t n = static_cast<size_t>(args.gate.dim(1));
  for (int64_t m = begin; m < end; ++m) {
    const float* gate = args.gate.row<float>(m);
    const float* up = args.up.row<float>(m);
    Y* y = args.y.row<Y>(m);
    size_t i = 0;
    for (; i + lanes <= n; i += lanes) StoreWide(d, Gated(d, LoadWide(d, gate + i), LoadWide(d, up + i)), y + i);
    if (i < n) StoreWideN(d, Gated(d, LoadWideN(d, gate + i, n - i), LoadWideN(d, up + i, n - i)), y + i, n - i);
  }
}

void SwigluRows(const ops::SwigluArgs& args, int64_t begin, int64_t end) {
  if (args.y.dtype() == DType::kF32) return SwigluRowsAs<float>(args, begin, end);
  SwigluRowsAs<BFloat16>(args, begin, end);
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {
HWY_EXPORT(SwigluRows);

void swiglu(ops::Backend& backend, ops::Stream, const ops::SwigluArgs& args) {
  const auto rows = HWY_DYNAMIC_DISPATCH(SwigluRows);
  ContextOf(backend).pool->ParallelFor(args.gate.rows(), RowsPerGrain(args.gate.dim(1)),
                                       [&](int64_t begin, int64_t end, int) { rows(args, begin, end); });
}

}  // namespace nosa::cpu
#endif
