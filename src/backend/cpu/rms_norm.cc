#include "ops/rms_norm.h"

#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/grain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rms_norm.cc"
#include "backend/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {
template <typename T, typename Y>
HWY_INLINE void NormaliseRow(const float* x, const T* weight, Y* y, size_t n, float eps) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  const size_t whole = n - n % lanes;
  auto squares = hn::Zero(d);
  for (size_t i = 0; i < whole; i += lanes) {
    const auto v = LoadWide(d, x + i);
    squares = hn::MulAdd(v, v, squares);
  }
  if (whole < n) {
    const auto v = LoadWideN(d, x + whole, n - whole);
    squares = hn::MulAdd(v, v, squares);
  }
  const auto factor = hn::Set(d, 1.0f / std::sqrt(SumLanes(d, squares) / static_cast<float>(n) + eps));
  for (size_t i = 0; i < whole; i += lanes) {
    StoreWide(d, hn::Mul(hn::Mul(LoadWide(d, x + i), factor), LoadWide(d, weight + i)), y + i);
  }
  if (whole < n) {
    const size_t rest = n - whole;
    StoreWideN(d, hn::Mul(hn::Mul(LoadWideN(d, x + whole, rest), factor), LoadWideN(d, weight + whole, rest)),
               y + whole, rest);
  }
}

template <typename T, typename Y>
void NormaliseRowsAs(const ops::RmsNormArgs& args, int64_t begin, int64_t end) {
  const size_t width = static_cast<size_t>(args.x.dim(1));
  for (int64_t m = begin; m < end; ++m) {
    NormaliseRow(args.x.row<float>(m), args.weight.row<T>(0), args.y.row<Y>(m), width, args.eps);
  }
}

void NormaliseRows(const ops::RmsNormArgs& args, int64_t begin, int64_t end) {
  if (args.weight.dtype() == DType::kF32) {
    if (args.y.dtype() == DType::kF32) return NormaliseRowsAs<float, float>(args, begin, end);
    return NormaliseRowsAs<float, BFloat16>(args, begin, end);
  }
  if (args.y.dtype() == DType::kF32) return NormaliseRowsAs<BFloat16, float>(args, begin, end);
  NormaliseRowsAs<BFloat16, BFloat16>(args, begin, end);
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {
HWY_EXPORT(NormaliseRows);

void rms_norm(ops::Backend& backend, ops::Stream, const ops::RmsNormArgs& args) {
  const auto rows = HWY_DYNAMIC_DISPATCH(NormaliseRows);
  ContextOf(backend).pool->ParallelFor(args.x.rows(), RowsPerGrain(args.x.dim(1)),
                                       [&](int64_t begin, int64_t end, int) { rows(args, begin, end); });
}

}  // namespace nosa::cpu
#endif
