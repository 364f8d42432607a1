#include "ops/softmax.h"

#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/grain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/softmax.cc"
#include "backend/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {
HWY_INLINE void SoftmaxRow(const float* x, float* y, size_t n, float scale_value) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  const size_t whole = n - n % lanes;
  const size_t rest = n - whole;
  const auto lowest = hn::Set(d, -HUGE_VALF);
  const auto scale = hn::Set(d, scale_value);

  auto max_lanes = lowest;
  for (size_t i = 0; i < whole; i += lanes) max_lanes = hn::Max(max_lanes, LoadWide(d, x + i));
  if (rest > 0) {
    max_lanes = hn::Max(max_lanes, hn::IfThenElse(hn::FirstN(d, rest), LoadWideN(d, x + whole, rest), lowest));
  }
  const auto max = hn::Set(d, MaxLane(d, max_lanes));

  auto sum_lanes = hn::Zero(d);
  for (size_t i = 0; i < whole; i += lanes) {
    const auto e = Exp(d, hn::Mul(hn::Sub(LoadWide(d, x + i), max), scale));
    sum_lanes = hn::Add(sum_lanes, e);
    StoreWide(d, e, y + i);
  }
  if (rest > 0) {
    const auto e = Exp(d, hn::Mul(hn::Sub(LoadWideN(d, x + whole, rest), max), scale));
    sum_lanes = hn::Add(sum_lanes, hn::IfThenElseZero(hn::FirstN(d, rest), e));
    StoreWideN(d, e, y + whole, rest);
  }

  const auto factor = hn::Set(d, 1.0f / SumLanes(d, sum_lanes));
  for (size_t i = 0; i < whole; i += lanes) StoreWide(d, hn::Mul(LoadWide(d, y + i), factor), y + i);
  if (rest > 0) StoreWideN(d, hn::Mul(LoadWideN(d, y + whole, rest), factor), y + whole, rest);
}

void SoftmaxRows(const ops::SoftmaxArgs& args, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    SoftmaxRow(args.x.row<float>(r), args.y.row<float>(r), static_cast<size_t>(args.x.dim(1)), args.scale);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {
HWY_EXPORT(SoftmaxRows);

void softmax(ops::Backend& backend, ops::Stream, const ops::SoftmaxArgs& args) {
  const auto rows = HWY_DYNAMIC_DISPATCH(SoftmaxRows);
  ContextOf(backend).pool->ParallelFor(args.x.rows(), RowsPerGrain(args.x.dim(1)),
                                       [&](int64_t begin, int64_t end, int) { rows(args, begin, end); });
}

}  // namespace nosa::cpu
#endif
