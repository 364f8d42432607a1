// Few rows of x times bf16 weights, on the tensor cores, at the speed at which the weights can be read.
//
// Each weight is read once, 16 bytes at a time and straight into the registers where the tensor cores want it: an MMA
// sums over 16 inputs, and which 16 is free as long as both operands agree, so a thread's two words of each operand may
// be neighbours in memory. The warps of a block share out the inputs of the same columns, and add up at the end. Sums
// take the same steps however many rows there are: more rows are more MMAs beside one another.
#include <algorithm>

#include "backend/cuda/mma.cuh"
#include "backend/cuda/rowwise_product.h"

namespace nosa::cuda {
namespace {

constexpr int kWarps = 8;         // of a block
constexpr int kTileColumns = 16;  // rows of W, and so columns of y, of an MMA
constexpr int kTileRows = 8;      // rows of x of an MMA
constexpr int kHalf = 32;         // inputs that the four threads of a row load at once: 64 bytes
constexpr int kSpan = 2 * kHalf;  // inputs of a turn of a warp: a cache line of each row of W
constexpr int kSteps = 4;         // halves, of two turns, whose weights are on their way at the same time

// 16 bytes, or zeros. In assembly because the compiler makes of a condition a branch, and of branches a queue: the
// loads of a warp have to be on their way together. Weights are read once, and leave the first cache to the inputs.
__device__ uint4 LoadWeights16(const void* data, bool there) {
  uint4 v;
  asm volatile(
      "{\n"
      ".reg .pred there;\n"
      "setp.ne.u32 there, %5, 0;\n"
      "mov.u32 %0, 0; mov.u32 %1, 0; mov.u32 %2, 0; mov.u32 %3, 0;\n"
      "@there ld.global.nc.L1::no_allocate.v4.u32 {%0, %1, %2, %3}, [%4];\n"
      "}"
      : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
      : "l"(data), "r"(static_cast<uint32_t>(there)));
  return v;
}
__device__ uint4 LoadInputs16(const void* data, bool there) {
  uint4 v;
  asm volatile(
      "{\n"
      ".reg .pred there;\n"
      "setp.ne.u32 there, %5, 0;\n"
      "mov.u32 %0, 0; mov.u32 %1, 0; mov.u32 %2, 0; mov.u32 %3, 0;\n"
      "@there ld.global.v4.u32 {%0, %1, %2, %3}, [%4];\n"
      "}"
      : "=&r"(v.x), "=&r"(v.y), "=&r"(v.z), "=&r"(v.w)
      : "l"(data), "r"(static_cast<uint32_t>(there)));
  return v;
}

// Eight weights from input k on. kVector: rows start at multiples of 16 bytes, and `width` is a multiple of 8.
template <bool kVector>
__device__ uint4 LoadWeights(const BFloat16* row, int k, int width) {
  if constexpr (kVector) return LoadWeights16(row + k, k < width);
  const auto pair = [&](int i) {
    const uint32_t low = i < width ? row[i].bits : 0u, high = i + 1 < width ? row[i + 1].bits : 0u;
    return low | high << 16;
  };
  return make_uint4(pair(k), pair(k + 2), pair(k + 4), pair(k + 6));
}

// Eight inputs as they lie in memory, and as the tensor cores take them.
template <typename X>
struct Inputs;
template <>
struct Inputs<BFloat16> {
  uint4 words;
  __device__ void Load(const BFloat16* row, int k, int width) { words = LoadInputs16(row + k, k < width); }
  __device__ uint4 Rounded() const { return words; }
};
template <>
struct Inputs<float> {
  uint4 low, high;
  __device__ void Load(const float* row, int k, int width) {
    low = LoadInputs16(row + k, k < width);
    high = LoadInputs16(row + k + 4, k < width);
  }
  __device__ uint4 Rounded() const {
    return make_uint4(Pair(low.x, low.y), Pair(low.z, low.w), Pair(high.x, high.y), Pair(high.z, high.w));
  }
  __device__ static uint32_t Pair(uint32_t first, uint32_t second) {
    const __nv_bfloat162 both = __floats2bfloat162_rn(__uint_as_float(first), __uint_as_float(second));
    return __bfloat16_as_ushort(both.x) | static_cast<uint32_t>(__bfloat16_as_ushort(both.y)) << 16;
  }
};

// A block computes kColumnTiles * 16 columns of one term for kRowTiles * 8 rows.
template <typename X, int kRowTiles, int kColumnTiles, bool kVector>
__global__ void __launch_bounds__(kWarps* kWarpSize, kRowTiles <= 2 ? 2 : 1)
    RowwiseBf16Kernel(RowwiseLaunch<X> launch) {
  constexpr int kRows = kRowTiles * kTileRows, kColumns = kColumnTiles * kTileColumns;
  __shared__ float parts[kWarps][kTileRows][kColumns];

  // Blocks that read the same weights are neighbours.
  const int width = launch.inputs.width, rows = launch.inputs.rows;
  const int row_blocks = (rows + kRows - 1) / kRows;
  const int tile = static_cast<int>(blockIdx.x) / row_blocks;
  const int first_row = static_cast<int>(blockIdx.x) % row_blocks * kRows;
  int index = 0;
  while (index + 1 < launch.count && tile >= launch.terms[index + 1].first_tile) ++index;
  const RowwiseTerm& term = launch.terms[index];
  const int first_column = (tile - term.first_tile) * kColumns;

  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int group = lane / 4, quarter = lane % 4;

  // Beyond the last row or column, the last one again: nobody looks at what comes of it.
  const BFloat16* w_rows[kColumnTiles][2];
  const X* x_rows[kRowTiles];
#pragma unroll
  for (int i = 0; i < 2 * kColumnTiles; ++i) {
    const int column = min(first_column + i * 8 + group, term.columns - 1);
    w_rows[i / 2][i % 2] = static_cast<const BFloat16*>(term.w) + column * term.w_stride;
  }
#pragma unroll
  for (int i = 0; i < kRowTiles; ++i) {
    x_rows[i] = launch.inputs.x + min(first_row + i * kTileRows + group, rows - 1) * launch.inputs.stride;
  }

  // The inputs of few rows are asked for together with the weights; those of many would not fit the registers.
  constexpr bool kEarly = kRowTiles <= 2;
  Inputs<X> x[kEarly ? kSteps : 1][kRowTiles];
  const auto load_inputs = [&](Inputs<X>(&to)[kRowTiles], int k) {
#pragma unroll
    for (int r = 0; r < kRowTiles; ++r) to[r].Load(x_rows[r], k, width);
  };

  float sums[kRowTiles][kColumnTiles][4] = {};
  for (int turn = warp * kSpan; turn < width; turn += kSteps / 2 * kWarps * kSpan) {
    const auto input = [&](int step) { return turn + step / 2 * kWarps * kSpan + step % 2 * kHalf + quarter * 8; };
    uint4 w[kSteps][kColumnTiles][2];
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int i = 0; i < 2 * kColumnTiles; ++i) {
        w[step][i / 2][i % 2] = LoadWeights<kVector>(w_rows[i / 2][i % 2], input(step), width);
      }
    }
    // The weights need not: those of the first turn come while it waits. Once only: waiting again is not free.
    if (turn == warp * kSpan) WaitForPrevious();
    if constexpr (kEarly) {
#pragma unroll
      for (int step = 0; step < kSteps; ++step) load_inputs(x[step], input(step));
    }
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      if constexpr (!kEarly) load_inputs(x[0], input(step));
#pragma unroll
      for (int r = 0; r < kRowTiles; ++r) {
        const uint4 inputs = x[kEarly ? step : 0][r].Rounded();
#pragma unroll
        for (int c = 0; c < kColumnTiles; ++c) {
          const uint4 &low = w[step][c][0], &high = w[step][c][1];
          // Columns of y by rows of x; a pair of words of each of the two weight rows is the first operand.
          MultiplyAdd(sums[r][c], {low.x, high.x, low.y, high.y}, inputs.x, inputs.y);
          MultiplyAdd(sums[r][c], {low.z, high.z, low.w, high.w}, inputs.z, inputs.w);
        }
      }
    }
  }

  // Not before: blocks of the next kernel would come two to the multiprocessor that is free first, and none to others.
  LetNextStart();
  WaitForPrevious();  // also warps without a turn
#pragma unroll
  for (int r = 0; r < kRowTiles; ++r) {
    const int row_begin = first_row + r * kTileRows;
    if (row_begin >= rows) return;
    __syncthreads();  // the tile before has been read
#pragma unroll
    for (int c = 0; c < kColumnTiles; ++c) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        parts[warp][quarter * 2 + i % 2][c * kTileColumns + i / 2 * 8 + group] = sums[r][c][i];
      }
    }
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < kTileRows * kColumns; i += kWarps * kWarpSize) {
      const int row = i / kColumns, column = i % kColumns;
      float sum = parts[0][row][column];
      for (int other = 1; other < kWarps; ++other) sum += parts[other][row][column];
      if (row_begin + row >= rows || first_column + column >= term.columns) continue;
      float& y = term.y[(row_begin + row) * term.y_stride + first_column + column];
      y = term.accumulate ? y + sum : sum;
    }
  }
}

template <typename X, int kRowTiles, int kColumnTiles, bool kVector>
void LaunchKernel(cudaStream_t stream, const RowwiseInputs<X>& inputs, std::span<const RowwiseTerm> terms) {
  const RowwiseLaunch<X> launch = MakeRowwiseLaunch(inputs, terms, kColumnTiles * kTileColumns);
  const int64_t blocks = launch.tiles * CeilDiv(inputs.rows, kRowTiles * kTileRows);
  Launch(&RowwiseBf16Kernel<X, kRowTiles, kColumnTiles, kVector>, dim3(static_cast<unsigned>(blocks)),
         dim3(kWarps * kWarpSize), 0, stream, launch);
}

// Wide blocks read x half as often, but there must be enough of them for every multiprocessor.
bool EnoughForWideBlocks(Context& context, std::span<const RowwiseTerm> terms) {
  int64_t tiles = 0;
  for (const RowwiseTerm& term : terms) tiles += CeilDiv(term.columns, kTileColumns);
  return tiles >= 4 * context.multiprocessors();
}

template <typename X, int kRowTiles>
void LaunchVector(Context& context, ops::Stream stream, const RowwiseInputs<X>& inputs,
                  std::span<const RowwiseTerm> terms) {
  if (EnoughForWideBlocks(context, terms)) {
    LaunchKernel<X, kRowTiles, 2, true>(context.stream(stream), inputs, terms);
  } else {
    LaunchKernel<X, kRowTiles, 1, true>(context.stream(stream), inputs, terms);
  }
}

bool InSixteens(const void* data, int64_t stride, size_t element) {
  return reinterpret_cast<uintptr_t>(data) % 16 == 0 && static_cast<size_t>(stride) * element % 16 == 0;
}

bool CanLoadVectors(std::span<const RowwiseTerm> terms, int width) {
  return width % 8 == 0 && std::all_of(terms.begin(), terms.end(), [](const RowwiseTerm& term) {
           return InSixteens(term.w, term.w_stride, sizeof(BFloat16));
         });
}

}  // namespace

void RowwiseBf16(Context& context, ops::Stream stream, const RowwiseInputs<BFloat16>& inputs,
                 std::span<const RowwiseTerm> terms) {
  if (!CanLoadVectors(terms, inputs.width)) {
    if (inputs.rows <= 2 * kTileRows) return LaunchKernel<BFloat16, 2, 1, false>(context.stream(stream), inputs, terms);
    return LaunchKernel<BFloat16, 8, 1, false>(context.stream(stream), inputs, terms);
  }
  if (inputs.rows <= kTileRows) return LaunchVector<BFloat16, 1>(context, stream, inputs, terms);
  if (inputs.rows <= 2 * kTileRows) return LaunchVector<BFloat16, 2>(context, stream, inputs, terms);
  if (inputs.rows <= 4 * kTileRows) return LaunchVector<BFloat16, 4>(context, stream, inputs, terms);
  LaunchVector<BFloat16, 8>(context, stream, inputs, terms);
}

bool RowwiseBf16(Context& context, ops::Stream stream, const RowwiseInputs<float>& inputs,
                 std::span<const RowwiseTerm> terms) {
  static_assert(kFewRows <= kTileRows);
  if (inputs.rows > kTileRows || !CanLoadVectors(terms, inputs.width)) return false;
  if (!InSixteens(inputs.x, inputs.stride, sizeof(float))) return false;
  LaunchVector<float, 1>(context, stream, inputs, terms);
  return true;
}

}  // namespace nosa::cuda
