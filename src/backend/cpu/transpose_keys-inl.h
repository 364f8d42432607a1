// Turns the keys of a block, [tokens, D] as stored, into f32 [D, stride] with a lane per token.
// Included after backend/cpu/simd.h, once per target.
#if defined(NOSA_BACKEND_CPU_TRANSPOSE_KEYS_TOGGLE_) == defined(HWY_TARGET_TOGGLE)
#ifdef NOSA_BACKEND_CPU_TRANSPOSE_KEYS_TOGGLE_
#undef NOSA_BACKEND_CPU_TRANSPOSE_KEYS_TOGGLE_
#else
#define NOSA_BACKEND_CPU_TRANSPOSE_KEYS_TOGGLE_
#endif

#include <type_traits>

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {

#if HWY_TARGET != HWY_SCALAR

// 16 bytes from each of Lanes() / 4 rows that lie 4 apart, one row to each 128-bit part of the vector. Loading this
// way leaves only 4 x 4 transposes inside the parts: the loads do what shuffles across parts would.
template <typename T>
HWY_INLINE hn::Vec<WordTag> LoadParts(WordTag d, const T* const* rows, size_t at) {
  const auto part = [&](size_t i) { return hn::LoadDup128(d, reinterpret_cast<const uint32_t*>(rows[i] + at)); };
  auto v = part(0);
  const auto lane = hn::Iota(d, 0);
  for (size_t i = 4; i < hn::Lanes(d); i += 4)
    v = hn::IfThenElse(hn::Lt(lane, hn::Set(d, static_cast<uint32_t>(i))), v, part(i));
  return v;
}

// Words [4] of Lanes() rows, to 4 vectors of one word each.
template <typename T>
HWY_INLINE void TransposeWords(WordTag d, const T* const* rows, size_t at, hn::Vec<WordTag> (&out)[4]) {
  const hn::RepartitionToWide<WordTag> wide;
  const auto r0 = LoadParts(d, rows, at), r1 = LoadParts(d, rows + 1, at);
  const auto r2 = LoadParts(d, rows + 2, at), r3 = LoadParts(d, rows + 3, at);
  const auto a = hn::BitCast(wide, hn::InterleaveLower(d, r0, r1)),
             b = hn::BitCast(wide, hn::InterleaveLower(d, r2, r3));
  const auto e = hn::BitCast(wide, hn::InterleaveUpper(d, r0, r1)),
             f = hn::BitCast(wide, hn::InterleaveUpper(d, r2, r3));
  out[0] = hn::BitCast(d, hn::InterleaveLower(wide, a, b));
  out[1] = hn::BitCast(d, hn::InterleaveUpper(wide, a, b));
  out[2] = hn::BitCast(d, hn::InterleaveLower(wide, e, f));
  out[3] = hn::BitCast(d, hn::InterleaveUpper(wide, e, f));
}

// The first multiple of 16 bytes of each key of Lanes() tokens. Returns the channels done.
template <typename T>
HWY_INLINE size_t TransposeWhole(const T* const* rows, size_t dim, float* to, size_t stride) {
  const WordTag d;
  const FloatTag df;
  constexpr size_t kStep = 16 / sizeof(T);
  size_t c = 0;
  for (; c + kStep <= dim; c += kStep) {
    hn::Vec<WordTag> words[4];
    TransposeWords(d, rows, c, words);
    for (size_t i = 0; i < 4; ++i) {
      if constexpr (std::is_same_v<T, float>) {
        hn::StoreU(hn::BitCast(df, words[i]), df, to + (c + i) * stride);
      } else {
        // A word holds two neighbouring channels: the first in its low half (little endian, as everywhere here).
        hn::StoreU(hn::BitCast(df, hn::ShiftLeft<16>(words[i])), df, to + (c + 2 * i) * stride);
        hn::StoreU(hn::BitCast(df, hn::And(words[i], hn::Set(d, 0xffff0000u))), df, to + (c + 2 * i + 1) * stride);
      }
    }
  }
  return c;
}

#else

template <typename T>
HWY_INLINE size_t TransposeWhole(const T* const*, size_t, float*, size_t) {
  return 0;
}

#endif

// Lanes beyond `tokens` repeat the last token: what the cache holds there was never written.
template <typename T>
void TransposeKeys(const T* keys, size_t tokens, size_t dim, float* to, size_t stride) {
  const size_t lanes = FloatLanes();
  const T* rows[HWY_MAX_BYTES / sizeof(float)];
  for (size_t t = 0; t < tokens; t += lanes) {
    for (size_t i = 0; i < lanes; ++i) rows[i] = keys + HWY_MIN(t + i, tokens - 1) * dim;
    for (size_t c = TransposeWhole(rows, dim, to + t, stride); c < dim; ++c) {
      for (size_t i = 0; i < lanes; ++i) to[c * stride + t + i] = static_cast<float>(rows[i][c]);
    }
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();
#endif  // once per target
