// How two partial attention states merge, in one place: block_attention and merge_states must give the same bits.
// Included after backend/cpu/simd.h, once per target.
#if defined(NOSA_BACKEND_CPU_PARTIAL_MERGE_TOGGLE_) == defined(HWY_TARGET_TOGGLE)
#ifdef NOSA_BACKEND_CPU_PARTIAL_MERGE_TOGGLE_
#undef NOSA_BACKEND_CPU_PARTIAL_MERGE_TOGGLE_
#else
#define NOSA_BACKEND_CPU_PARTIAL_MERGE_TOGGLE_
#endif

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {

// exp(x) for x <= 0, the hot loop of attention: half the instructions of Exp. Within 2 ulp down to x = -87, exactly 0
// below (where a weight is under 2e-38 of the greatest), exactly 1 at 0; NaN stays NaN.
HWY_INLINE FloatVec ExpBelow(FloatTag d, FloatVec x) {
  const WordTag words;
  // Adding 1.5 * 2^23 rounds to an integer, which then sits in the low bits of the sum.
  const auto magic = hn::Set(d, 12582912.0f);
  const auto shifted = hn::MulAdd(x, hn::Set(d, 1.44269504f), magic);
  const auto n = hn::Sub(shifted, magic);
  const auto p = ExpOfRest(d, x, n);
  // Times 2^n, by adding n to the exponent: the result is a normal number for x >= -87.
  const auto scaled = hn::Add(hn::BitCast(words, p), hn::ShiftLeft<23>(hn::BitCast(words, shifted)));
  return hn::IfThenElse(hn::Lt(x, hn::Set(d, -87.0f)), hn::Zero(d), hn::BitCast(d, scaled));
}

// Factors of the first and the second state when they merge, lane by lane, neither of them empty; `m` of the result.
struct MergeFactors {
  FloatVec m, first, second;
};
HWY_INLINE MergeFactors FactorsOf(FloatTag d, FloatVec m1, FloatVec m2) {
  const FloatVec m = hn::Max(m1, m2);
  return {m, ExpBelow(d, hn::Sub(m1, m)), ExpBelow(d, hn::Sub(m2, m))};
}

// a * first + b * second with one rounding in the sum. The fused form is spelled out, because a compiler that fuses by
// itself does so differently from place to place.
HWY_INLINE FloatVec MergeValues(FloatVec a, FloatVec first, FloatVec b, FloatVec second) {
  return hn::MulAdd(b, second, hn::Mul(a, first));
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();
#endif  // once per target
