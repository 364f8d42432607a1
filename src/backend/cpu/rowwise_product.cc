#include "backend/cpu/rowwise_product.h"

#include <hwy/cache_control.h>

#include <algorithm>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/rowwise_product.cc"
#include "backend/cpu/simd.h"

#ifndef NOSA_BACKEND_CPU_ROWWISE_TYPES_
#define NOSA_BACKEND_CPU_ROWWISE_TYPES_
namespace nosa::cpu {

// x as the kernels read it. A chunk is 2 * lanes elements of one row, zero beyond K; for bf16 weights the elements are
// rounded and a chunk holds the even ones, then the odd ones, because a word of two bf16 widens into those with one
// shift and one mask. Rows come in groups of kGroup, the last of them shorter; a group is [chunks][its rows][chunk], so
// that a tile reads it from front to back.
struct PreparedRows {
  const float* data = nullptr;
  size_t stride = 0;  // floats of one row: row m's group starts at (m - m % kGroup) * stride
  size_t rows = 0;
};

// Rows [begin, end) of a term's w.
struct WeightRows {
  const ops::ProductArgs::Term* term = nullptr;
  int64_t y_row = 0;  // the row of y that belongs to row 0 of the prepared x
  int64_t begin = 0;
  int64_t end = 0;
};

}  // namespace nosa::cpu
#endif  // NOSA_BACKEND_CPU_ROWWISE_TYPES_

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {

// A tile is weight rows by a group of x rows, one accumulator each: with 32 registers 16 accumulators and their
// operands fit, with 16 registers 8.
#if HWY_TARGET == HWY_AVX3
constexpr size_t kGroup = 4;
constexpr size_t kTileRows = 4;
#else
constexpr size_t kGroup = 4;
constexpr size_t kTileRows = 2;
#endif

struct Pair {
  FloatVec first;
  FloatVec second;
};

// A chunk of weights, in the order of the prepared x.
HWY_INLINE Pair LoadChunk(const float* p) {
  const FloatTag d;
  return {LoadWide(d, p), LoadWide(d, p + FloatLanes())};
}
HWY_INLINE Pair LoadChunk(const BFloat16* p) {
  const FloatTag d;
#if HWY_TARGET == HWY_SCALAR
  return {LoadWide(d, p), LoadWide(d, p + 1)};
#else
  const hn::Repartition<uint16_t, FloatTag> halves;
  const WordTag words;
  const auto w = hn::BitCast(words, hn::LoadU(halves, &p->bits));
  return {hn::BitCast(d, hn::ShiftLeft<16>(w)), hn::BitCast(d, hn::And(w, hn::Set(words, 0xffff0000u)))};
#endif
}

// x: a chunk of each of kX rows.
template <typename T, size_t kRows, size_t kX>
HWY_INLINE void AddChunk(const T* w, size_t w_stride, const float* x, FloatVec (&sums)[kRows][kX]) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  Pair weights[kRows];
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) weights[r] = LoadChunk(w + r * w_stride);
#pragma GCC unroll 8
  for (size_t m = 0; m < kX; ++m) {
    const auto first = LoadWide(d, x + 2 * m * lanes);
    const auto second = LoadWide(d, x + (2 * m + 1) * lanes);
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) sums[r][m] = hn::MulAdd(weights[r].first, first, sums[r][m]);
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) sums[r][m] = hn::MulAdd(weights[r].second, second, sums[r][m]);
  }
}

// kRows rows of w from row n, and the kX rows of x of the group that starts at row m.
template <typename T, size_t kRows, size_t kX>
HWY_NOINLINE void Tile(const WeightRows& rows, size_t width, const PreparedRows& x, int64_t n, size_t m) {
  const FloatTag d;
  const ops::ProductArgs::Term& term = *rows.term;
  const size_t chunk = 2 * FloatLanes();
  const T* w = term.w.row<T>(n);
  const size_t w_stride = static_cast<size_t>(term.w.row_stride());
  const float* inputs = x.data + m * x.stride;
  FloatVec sums[kRows][kX];
#pragma GCC unroll 8
  for (size_t r = 0; r < kRows; ++r) {
#pragma GCC unroll 8
    for (size_t i = 0; i < kX; ++i) sums[r][i] = hn::Zero(d);
  }
  size_t k = 0;
  for (; k + chunk <= width; k += chunk, inputs += kX * chunk) {
    // The next tile's weights, so that memory keeps reading while this tile's later groups compute.
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
      const T* next = w + (kRows + r) * w_stride + k;
      hwy::Prefetch(next);
      if (sizeof(T) == sizeof(float)) hwy::Prefetch(next + FloatLanes());  // a chunk of floats is two cache lines
    }
    AddChunk<T, kRows, kX>(w + k, w_stride, inputs, sums);
  }
  if (k < width) {
    T padded[kRows * 2 * HWY_MAX_BYTES / sizeof(float)] = {};
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t i = 0; i < width - k; ++i) padded[r * chunk + i] = w[r * w_stride + k + i];
    }
    AddChunk<T, kRows, kX>(padded, chunk, inputs, sums);
  }
#pragma GCC unroll 8
  for (size_t i = 0; i < kX; ++i) {
    float* y = term.y.row<float>(rows.y_row + static_cast<int64_t>(m + i)) + n;
#pragma GCC unroll 8
    for (size_t r = 0; r < kRows; ++r) {
      const float sum = SumLanes(d, sums[r][i]);
      y[r] = term.accumulate ? y[r] + sum : sum;
    }
  }
}

template <typename T, size_t kX>
HWY_INLINE void TileColumn(const WeightRows& rows, size_t width, const PreparedRows& x, int64_t begin, int64_t end,
                           size_t m) {
  int64_t n = begin;
  for (; n + static_cast<int64_t>(kTileRows) <= end; n += kTileRows) Tile<T, kTileRows, kX>(rows, width, x, n, m);
  for (; n < end; ++n) Tile<T, 1, kX>(rows, width, x, n, m);
}

template <typename T>
void ProductRows(const WeightRows& rows, size_t width, const PreparedRows& x) {
  // Few weight rows at a time go past all rows of x, so that they are read from memory once.
  for (int64_t begin = rows.begin; begin < rows.end; begin += kTileRows) {
    const int64_t end = HWY_MIN(begin + static_cast<int64_t>(kTileRows), rows.end);
    for (size_t m = 0; m < x.rows; m += kGroup) {
      switch (x.rows - m) {
        case 1: TileColumn<T, 1>(rows, width, x, begin, end, m); break;
        case 2: TileColumn<T, 2>(rows, width, x, begin, end, m); break;
        case 3: TileColumn<T, 3>(rows, width, x, begin, end, m); break;
        default: TileColumn<T, 4>(rows, width, x, begin, end, m); break;
      }
    }
  }
}

void ProductRowsF32(const WeightRows& rows, size_t width, const PreparedRows& x) { ProductRows<float>(rows, width, x); }
void ProductRowsBf16(const WeightRows& rows, size_t width, const PreparedRows& x) {
  ProductRows<BFloat16>(rows, width, x);
}

// Floats of one prepared row.
size_t PreparedStride(size_t width) {
  const size_t chunk = 2 * FloatLanes();
  return (width + chunk - 1) / chunk * chunk;
}

// Row m of `rows` into its places in `to`.
template <typename X>
HWY_INLINE void PrepareRowAs(const X* from, float* to, size_t m, size_t rows, size_t width, DType weights) {
  const size_t lanes = FloatLanes();
  const size_t stride = PreparedStride(width);
  const size_t group = m - m % kGroup;
  const size_t group_rows = HWY_MIN(kGroup, rows - group);
  float* chunk = to + group * stride + (m - group) * 2 * lanes;
  for (size_t k = 0; k < width; k += 2 * lanes, chunk += group_rows * 2 * lanes) {
    for (size_t i = 0; i < 2 * lanes; ++i) {
      if (weights == DType::kF32) {
        chunk[i] = k + i < width ? static_cast<float>(from[k + i]) : 0;
      } else {
        chunk[i / 2 + i % 2 * lanes] = k + i < width ? static_cast<float>(BFloat16(from[k + i])) : 0;
      }
    }
  }
}
void PrepareRow(const ConstTensorView& x, int64_t row, float* to, size_t m, size_t rows, size_t width, DType weights) {
  if (x.dtype() == DType::kF32) return PrepareRowAs(x.row<float>(row), to, m, rows, width, weights);
  PrepareRowAs(x.row<BFloat16>(row), to, m, rows, width, weights);
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {

HWY_EXPORT(ProductRowsF32);
HWY_EXPORT(ProductRowsBf16);
HWY_EXPORT(PreparedStride);
HWY_EXPORT(PrepareRow);

namespace {

// Rows of x prepared and multiplied at a time: they stay in the second-level cache up to K = 4096.
constexpr int64_t kRowBlock = 64;

// A range of the parallel loop reads about this much of the weights for one row of x: long enough (3 us of memory
// bandwidth) to hide the hand-out, short enough that threads end together.
constexpr int64_t kBytesPerGrain = 64 * 1024;

struct Prepared {
  PreparedRows f32;
  PreparedRows bf16;
};

Prepared Prepare(CpuContext& context, const ops::ProductArgs& args, int64_t first_row, int64_t rows) {
  const size_t width = static_cast<size_t>(args.x.dim(1));
  const size_t stride = HWY_DYNAMIC_DISPATCH(PreparedStride)(width);
  const size_t count = static_cast<size_t>(rows);
  float* next = context.shared->Get<float>(2 * count * stride);
  Prepared prepared;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    const bool wanted =
        std::any_of(args.terms.begin(), args.terms.end(), [&](const auto& term) { return term.w.dtype() == dtype; });
    if (!wanted) continue;
    (dtype == DType::kF32 ? prepared.f32 : prepared.bf16) = {next, stride, count};
    for (size_t m = 0; m < count; ++m) {
      HWY_DYNAMIC_DISPATCH(PrepareRow)
      (args.x, first_row + static_cast<int64_t>(m), next, m, count, width, dtype);
    }
    next += count * stride;
  }
  return prepared;
}

void MultiplyBlock(CpuContext& context, const ops::ProductArgs& args, int64_t first_row, int64_t rows) {
  const size_t width = static_cast<size_t>(args.x.dim(1));
  const Prepared prepared = Prepare(context, args, first_row, rows);
  int64_t total = 0;  // weight rows of all terms, one after the other
  for (const auto& term : args.terms) total += term.w.rows();
  const int64_t row_bytes = std::max<int64_t>(1, args.x.dim(1) * 2 * rows);
  const int64_t grain = static_cast<int64_t>(RoundUp(static_cast<uint64_t>(CeilDiv(kBytesPerGrain, row_bytes)), 4));
  const auto multiply_f32 = HWY_DYNAMIC_DISPATCH(ProductRowsF32);
  const auto multiply_bf16 = HWY_DYNAMIC_DISPATCH(ProductRowsBf16);
  context.pool->ParallelFor(total, grain, [&](int64_t begin, int64_t end, int) {
    int64_t base = 0;
    for (const auto& term : args.terms) {
      const WeightRows part = {&term, first_row, std::max(begin - base, int64_t{0}),
                               std::min(end - base, term.w.rows())};
      base += term.w.rows();
      if (part.begin >= part.end) continue;
      if (term.w.dtype() == DType::kF32) {
        multiply_f32(part, width, prepared.f32);
      } else {
        multiply_bf16(part, width, prepared.bf16);
      }
    }
  });
}

}  // namespace

void RowwiseProduct(CpuContext& context, const ops::ProductArgs& args) {
  for (int64_t m = 0; m < args.x.rows(); m += kRowBlock) {
    MultiplyBlock(context, args, m, std::min(kRowBlock, args.x.rows() - m));
  }
}

}  // namespace nosa::cpu
#endif
