// SIMD for the CPU ops, compiled once per instruction set (Highway, dynamic dispatch). An op's file starts with
//   #undef HWY_TARGET_INCLUDE
//   #define HWY_TARGET_INCLUDE "backend/cpu/<op>.cc"
//   #include "backend/cpu/simd.h"
// keeps its kernels between HWY_BEFORE_NAMESPACE() and HWY_AFTER_NAMESPACE() in nosa::cpu::HWY_NAMESPACE, and the
// rest, with HWY_EXPORT and HWY_DYNAMIC_DISPATCH, below `#if HWY_ONCE`. Standard functions that a kernel calls must not
// be inlined templates of its own instruction set: use HWY_MIN and HWY_MAX.
// No include guard around the whole: Highway includes this again for every target.

#ifndef NOSA_BACKEND_CPU_SIMD_CONFIG_
#define NOSA_BACKEND_CPU_SIMD_CONFIG_
// Two real targets, AVX2 and AVX-512, beside the baseline (scalar on x86 with GCC 12): each costs build time, and what
// lies between gains nothing on machines that run models. Vectors without a compile-time size (SVE, RVV) cannot be kept
// in arrays, as kernels here do.
#define HWY_DISABLED_TARGETS \
  (HWY_SSSE3 | HWY_SSE4 | HWY_AVX3_DL | HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"
#endif  // NOSA_BACKEND_CPU_SIMD_CONFIG_

#include <hwy/foreach_target.h>  // includes the op's file again for each target

#include <hwy/highway.h>

// Below: once per target.
#if defined(NOSA_BACKEND_CPU_SIMD_TOGGLE_) == defined(HWY_TARGET_TOGGLE)
#ifdef NOSA_BACKEND_CPU_SIMD_TOGGLE_
#undef NOSA_BACKEND_CPU_SIMD_TOGGLE_
#else
#define NOSA_BACKEND_CPU_SIMD_TOGGLE_
#endif

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

// A full vector of floats, and of the words they are made of.
using FloatTag = hn::ScalableTag<float>;
using FloatVec = hn::Vec<FloatTag>;
using WordTag = hn::RebindToUnsigned<FloatTag>;

HWY_INLINE size_t FloatLanes() { return hn::Lanes(FloatTag()); }

// The next Lanes() elements as floats.
HWY_INLINE FloatVec LoadWide(FloatTag d, const float* p) { return hn::LoadU(d, p); }
HWY_INLINE FloatVec LoadWide(FloatTag d, const BFloat16* p) {
  const hn::Rebind<uint16_t, FloatTag> halves;
  const WordTag words;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(words, hn::LoadU(halves, &p->bits))));
}

// The first n < Lanes() elements, zeros above; touches no others.
HWY_INLINE FloatVec LoadWideN(FloatTag d, const float* p, size_t n) { return hn::MaskedLoad(hn::FirstN(d, n), d, p); }
HWY_INLINE FloatVec LoadWideN(FloatTag d, const BFloat16* p, size_t n) {
  HWY_ALIGN BFloat16 padded[HWY_MAX_BYTES / sizeof(float)] = {};
  for (size_t i = 0; i < n; ++i) padded[i].bits = p[i].bits;
  return LoadWide(d, padded);
}

// v rounded to bf16 (nearest, ties to even; NaN stays NaN), as the float it stands for.
HWY_INLINE FloatVec RoundToBf16(FloatTag d, FloatVec v) {
  const WordTag words;
  const auto w = hn::BitCast(words, v);
  const auto odd = hn::And(hn::ShiftRight<16>(w), hn::Set(words, 1u));
  const auto rounded = hn::Add(w, hn::Add(odd, hn::Set(words, 0x7fffu)));
  const auto quiet = hn::Or(w, hn::Set(words, 0x400000u));
  const auto chosen = hn::IfThenElse(hn::RebindMask(words, hn::IsNaN(v)), quiet, rounded);
  return hn::BitCast(d, hn::And(chosen, hn::Set(words, 0xffff0000u)));
}

// Stores Lanes() floats, or the first n < Lanes() of them; bf16 rounds.
HWY_INLINE void StoreWide(FloatTag d, FloatVec v, float* p) { hn::StoreU(v, d, p); }
HWY_INLINE void StoreWide(FloatTag d, FloatVec v, BFloat16* p) {
  const hn::Rebind<uint16_t, FloatTag> halves;
  const auto words = hn::ShiftRight<16>(hn::BitCast(WordTag(), RoundToBf16(d, v)));
  // DemoteTo saturates from signed words; these are below 2^16.
  hn::StoreU(hn::DemoteTo(halves, hn::BitCast(hn::RebindToSigned<FloatTag>(), words)), halves, &p->bits);
}
HWY_INLINE void StoreWideN(FloatTag d, FloatVec v, float* p, size_t n) { hn::BlendedStore(v, hn::FirstN(d, n), d, p); }
HWY_INLINE void StoreWideN(FloatTag d, FloatVec v, BFloat16* p, size_t n) {
  HWY_ALIGN BFloat16 padded[HWY_MAX_BYTES / sizeof(float)];
  StoreWide(d, v, padded);
  for (size_t i = 0; i < n; ++i) p[i].bits = padded[i].bits;
}

// Over all lanes, in an order fixed by the target.
HWY_INLINE float SumLanes(FloatTag d, FloatVec v) { return hn::GetLane(hn::SumOfLanes(d, v)); }
HWY_INLINE float MaxLane(FloatTag d, FloatVec v) { return hn::GetLane(hn::MaxOfLanes(d, v)); }

// exp(x - n ln 2) for a whole n with |x - n ln 2| <= ln(2) / 2, by the Taylor series: the first term left out is
// r^8 / 8! < 6e-9, a tenth of an ulp.
HWY_INLINE FloatVec ExpOfRest(FloatTag d, FloatVec x, FloatVec n) {
  // ln 2 in two parts; the first has 15 bits, so its product with n is exact.
  auto r = hn::NegMulAdd(n, hn::Set(d, 0.693145751953125f), x);
  r = hn::NegMulAdd(n, hn::Set(d, 1.42860677e-6f), r);
  auto p = hn::Set(d, 1.0f / 5040);
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 720));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 120));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 24));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f / 6));
  p = hn::MulAdd(p, r, hn::Set(d, 0.5f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  p = hn::MulAdd(p, r, hn::Set(d, 1.0f));
  return p;
}

// exp(x) within 2 ulp where the result is a normal number; exactly 0 below -104 (so for -inf), infinite above 88.73,
// NaN stays NaN. With n = round(x / ln 2), exp(x) = 2^n exp(x - n ln 2).
HWY_INLINE FloatVec Exp(FloatTag d, FloatVec x) {
  const hn::RebindToSigned<FloatTag> ints;
  const auto bounded = hn::Min(hn::Max(x, hn::Set(d, -106.0f)), hn::Set(d, 90.0f));
  const auto n = hn::Round(hn::Mul(bounded, hn::Set(d, 1.44269504f)));
  const auto p = ExpOfRest(d, bounded, n);
  // 2^n in two factors: n reaches from -153 to 130, beyond the exponents of one float.
  const auto whole = hn::ConvertTo(ints, n);
  const auto half = hn::ShiftRight<1>(whole);
  const auto bias = hn::Set(ints, 127);
  const auto first = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(half, bias)));
  const auto second = hn::BitCast(d, hn::ShiftLeft<23>(hn::Add(hn::Sub(whole, half), bias)));
  // What the bounds above make of NaN differs by target.
  return hn::IfThenElse(hn::IsNaN(x), x, hn::Mul(hn::Mul(p, first), second));
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#endif  // once per target
