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

// Factors of the first and the second state when they merge, lane by lane, neither of them empty; `m` of the result.
struct MergeFactors {
  FloatVec m, first, second;
};
HWY_INLINE MergeFactors FactorsOf(FloatTag d, FloatVec m1, FloatVec m2) {
  const FloatVec m = hn::Max(m1, m2);
  return {m, Exp(d, hn::Sub(m1, m)), Exp(d, hn::Sub(m2, m))};
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
