#include "ops/rope.h"

#include <algorithm>

#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/grain.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rope.cc"
#include "backend/cpu/simd.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {
// Cosine and sine of n angles position * inv_freq[i], each within an ulp. The f32 angle reaches 2^31 radians, so the
// quarter turns are taken out in double, by pi / 2 in two parts; what is left, |r| <= pi / 4, goes through Taylor
// series whose first omitted terms are r^11 / 11! and r^12 / 12!, below 2e-9.
HWY_INLINE void Turns(float position, const float* inv_freq, float* cosines, float* sines, size_t n) {
  const hn::ScalableTag<double> d;
  const hn::Rebind<float, decltype(d)> narrow;
  const auto position_lanes = hn::Set(narrow, position);
  for (size_t i = 0; i < n; i += hn::Lanes(d)) {
    const auto angle = hn::PromoteTo(d, hn::Mul(position_lanes, hn::LoadU(narrow, inv_freq + i)));
    const auto turns = hn::Round(hn::Mul(angle, hn::Set(d, 0.63661977236758134308)));
    auto r = hn::NegMulAdd(turns, hn::Set(d, 1.5707963267948965580), angle);
    r = hn::NegMulAdd(turns, hn::Set(d, 6.1232339957367658861e-17), r);
    const auto r2 = hn::Mul(r, r);

    auto s = hn::Set(d, 1.0 / 362880);
    s = hn::MulAdd(s, r2, hn::Set(d, -1.0 / 5040));
    s = hn::MulAdd(s, r2, hn::Set(d, 1.0 / 120));
    s = hn::MulAdd(s, r2, hn::Set(d, -1.0 / 6));
    s = hn::MulAdd(hn::Mul(s, r2), r, r);
    auto c = hn::Set(d, -1.0 / 3628800);
    c = hn::MulAdd(c, r2, hn::Set(d, 1.0 / 40320));
    c = hn::MulAdd(c, r2, hn::Set(d, -1.0 / 720));
    c = hn::MulAdd(c, r2, hn::Set(d, 1.0 / 24));
    c = hn::MulAdd(c, r2, hn::Set(d, -0.5));
    c = hn::MulAdd(c, r2, hn::Set(d, 1.0));

    // Quarter q of the turn: (cos, sin) is (c, s), (-s, c), (-c, -s), (s, -c).
    const auto q = hn::NegMulAdd(hn::Floor(hn::Mul(turns, hn::Set(d, 0.25))), hn::Set(d, 4.0), turns);
    const auto one = hn::Eq(q, hn::Set(d, 1.0));
    const auto two = hn::Eq(q, hn::Set(d, 2.0));
    const auto three = hn::Eq(q, hn::Set(d, 3.0));
    const auto crossed = hn::Or(one, three);
    const auto cosine = hn::IfThenElse(crossed, s, c);
    const auto sine = hn::IfThenElse(crossed, c, s);
    hn::StoreU(hn::DemoteTo(narrow, hn::IfThenElse(hn::Or(one, two), hn::Neg(cosine), cosine)), narrow, cosines + i);
    hn::StoreU(hn::DemoteTo(narrow, hn::IfThenElse(hn::Or(two, three), hn::Neg(sine), sine)), narrow, sines + i);
  }
}

HWY_INLINE void RotateHead(float* x, const float* cosines, const float* sines, size_t half) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  size_t i = 0;
  for (; i + lanes <= half; i += lanes) {
    const auto c = LoadWide(d, cosines + i);
    const auto s = LoadWide(d, sines + i);
    const auto first = LoadWide(d, x + i);
    const auto second = LoadWide(d, x + half + i);
    StoreWide(d, hn::MulSub(first, c, hn::Mul(second, s)), x + i);
    StoreWide(d, hn::MulAdd(second, c, hn::Mul(first, s)), x + half + i);
  }
  for (; i < half; ++i) {
    const float first = x[i];
    const float second = x[half + i];
    x[i] = first * cosines[i] - second * sines[i];
    x[half + i] = second * cosines[i] + first * sines[i];
  }
}

// inv_freq and `turns` ([2][padded]) have room for whole vectors: `padded` is at least half, a multiple of 8.
void RopeRows(const ops::RopeArgs& args, const float* inv_freq, float* turns, size_t padded, int64_t begin,
              int64_t end) {
  const size_t half = args.inv_freq.size();
  for (int64_t m = begin; m < end; ++m) {
    Turns(static_cast<float>(args.positions[static_cast<size_t>(m)]), inv_freq, turns, turns + padded, half);
    float* x = args.x.row<float>(m);
    for (int64_t h = 0; h < args.x.dim(1); ++h) RotateHead(x + h * args.x.dim(2), turns, turns + padded, half);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {
HWY_EXPORT(RopeRows);

void rope(ops::Backend& backend, ops::Stream, const ops::RopeArgs& args) {
  CpuContext& context = ContextOf(backend);
  const size_t half = args.inv_freq.size();
  const size_t padded = static_cast<size_t>(RoundUp(half, 8));
  float* inv_freq = context.shared->Get<float>(padded);
  std::copy(args.inv_freq.begin(), args.inv_freq.end(), inv_freq);
  std::fill(inv_freq + half, inv_freq + padded, 0.0f);
  const auto rows = HWY_DYNAMIC_DISPATCH(RopeRows);
  context.pool->ParallelFor(args.x.rows(), RowsPerGrain(args.x.RowElements()),
                            [&](int64_t begin, int64_t end, int thread) {
                              rows(args, inv_freq, context.scratch[thread].Get<float>(2 * padded), padded, begin, end);
                            });
}

}  // namespace nosa::cpu
#endif
