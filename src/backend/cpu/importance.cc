#include "ops/importance.h"

#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/grain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/importance.cc"
#include "backend/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {
template <typename T>
HWY_INLINE float DotRow(const float* v, const T* delta, size_t n) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  const size_t whole = n - n % lanes;
  auto sum = hn::Zero(d);
  for (size_t i = 0; i < whole; i += lanes) sum = hn::MulAdd(LoadWide(d, v + i), LoadWide(d, delta + i), sum);
  if (whole < n) sum = hn::MulAdd(LoadWideN(d, v + whole, n - whole), LoadWideN(d, delta + whole, n - whole), sum);
  return SumLanes(d, sum);
}

void ImportanceRows(const ops::ImportanceArgs& args, int64_t begin, int64_t end) {
  const size_t width = static_cast<size_t>(args.delta.dim(1));
  for (int64_t m = begin; m < end; ++m) {
    const float* v = args.v.row<float>(m);
    for (int64_t g = 0; g < args.delta.rows(); ++g) {
      const float x = args.delta.dtype() == DType::kF32 ? DotRow(v, args.delta.row<float>(g), width)
                                                        : DotRow(v, args.delta.row<BFloat16>(g), width);
      // log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), whose exponential cannot overflow. One per token and head: scalar.
      const float softplus = HWY_MAX(x, 0.0f) + std::log1p(std::exp(-std::abs(x)));
      args.s.row<float>(m)[g] = softplus * LoadFloat(args.a.bytes(), args.a.dtype(), static_cast<size_t>(g));
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {
HWY_EXPORT(ImportanceRows);

void importance(ops::Backend& backend, ops::Stream, const ops::ImportanceArgs& args) {
  const auto rows = HWY_DYNAMIC_DISPATCH(ImportanceRows);
  ContextOf(backend).pool->ParallelFor(args.v.rows(), RowsPerGrain(args.delta.shape().elements()),
                                       [&](int64_t begin, int64_t end, int) { rows(args, begin, end); });
}

}  // namespace nosa::cpu
#endif
