// Register-blocked products of a few rows with a matrix whose vectors run along its columns: the two inner loops of
// attention (Q K^T with K transposed, P V) and the window scores. Every element of a result is one chain of fused
// multiply-adds in the order of the summed index, from zero, whatever the number of rows or columns it is computed
// with: that is why batching does not change a bit. Included after backend/cpu/simd.h, once per target.
#if defined(NOSA_BACKEND_CPU_ROW_PRODUCTS_TOGGLE_) == defined(HWY_TARGET_TOGGLE)
#ifdef NOSA_BACKEND_CPU_ROW_PRODUCTS_TOGGLE_
#undef NOSA_BACKEND_CPU_ROW_PRODUCTS_TOGGLE_
#else
#define NOSA_BACKEND_CPU_ROW_PRODUCTS_TOGGLE_
#endif

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {

// Rows and vectors of a register block: kMaxRows * kMaxVectors accumulators, kMaxVectors loads and a broadcast must
// fit the registers, 32 of them on AVX-512 and NEON, 16 on AVX2.
constexpr size_t kMaxRows = 6;
#if HWY_TARGET == HWY_AVX2
constexpr size_t kMaxVectors = 2;
#else
constexpr size_t kMaxVectors = 4;
#endif

// Columns of a row-major matrix; vector v of row i.
template <typename T>
struct DenseColumns {
  const T* data;
  size_t stride;  // elements from row to row
  HWY_INLINE FloatVec Load(FloatTag d, size_t i, size_t v) const {
    return LoadWide(d, data + i * stride + v * hn::Lanes(d));
  }
};

// sums[r][v] = sum over i < n of rows[r][i] * columns(i, v).
template <size_t kRows, size_t kVectors, typename Columns>
HWY_INLINE void RowProducts(FloatTag d, const float* const* HWY_RESTRICT rows, size_t n, Columns columns,
                            FloatVec (&sums)[kRows][kVectors]) {
  const float* row[kRows];
  for (size_t r = 0; r < kRows; ++r) row[r] = rows[r];
  for (size_t r = 0; r < kRows; ++r) {
    for (size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::Zero(d);
  }
  for (size_t i = 0; i < n; ++i) {
    FloatVec column[kVectors];
    for (size_t v = 0; v < kVectors; ++v) column[v] = columns.Load(d, i, v);
    for (size_t r = 0; r < kRows; ++r) {
      const FloatVec x = hn::Set(d, row[r][i]);
      for (size_t v = 0; v < kVectors; ++v) sums[r][v] = hn::MulAdd(x, column[v], sums[r][v]);
    }
  }
}

// body.operator()<kRows>(first) over `rows` rows in blocks of 6, 4, 2 and 1.
template <typename Body>
HWY_INLINE void ForRowBlocks(size_t rows, Body body) {
  size_t r = 0;
  for (; r + kMaxRows <= rows; r += kMaxRows) body.template operator()<kMaxRows>(r);
  if (r + 4 <= rows) {
    body.template operator()<4>(r);
    r += 4;
  }
  if (r + 2 <= rows) {
    body.template operator()<2>(r);
    r += 2;
  }
  if (r < rows) body.template operator()<1>(r);
}

// body.operator()<kVectors>(first) over `vectors` vectors in blocks of 4, 2 and 1 (2 and 1 on AVX2).
template <typename Body>
HWY_INLINE void ForVectorBlocks(size_t vectors, Body body) {
  size_t v = 0;
  for (; v + kMaxVectors <= vectors; v += kMaxVectors) body.template operator()<kMaxVectors>(v);
  if constexpr (kMaxVectors > 2) {
    if (v + 2 <= vectors) {
      body.template operator()<2>(v);
      v += 2;
    }
  }
  if (v < vectors) body.template operator()<1>(v);
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();
#endif  // once per target
