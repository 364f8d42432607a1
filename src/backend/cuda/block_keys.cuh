// The keys of blocks for their selection, from the weights of windows (seat_window_weights.cu) and importance.
#pragma once

#include "backend/cuda/seat_selection.h"
#include "backend/cuda/top_members.cuh"

namespace nosa::cuda {

// Shared memory of Keys for `blocks` blocks, in numbers: factors, scores by Q, and E.
__host__ __device__ inline int KeyNumbers(int blocks, int per_block) {
  const int windows = blocks * per_block;
  return kMostGroup * (windows / kPiece + 2) + 2 * (windows + 4);
}

// kWide numbers at multiples of kWide: 2 or 4.
template <int kWide>
__device__ __forceinline__ void LoadWide(const float* from, float (&to)[kWide]) {
  if constexpr (kWide == 4) {
    const float4 four = Load4(from);
    to[0] = four.x, to[1] = four.y, to[2] = four.z, to[3] = four.w;
  } else {
    static_assert(kWide == 2);
    const float2 two = *reinterpret_cast<const float2*>(from);
    to[0] = two.x, to[1] = two.y;
  }
}

// The keys by Q and by E of blocks first + thread + i * kSelectThreads below first + room, 0 beyond the last; `memory`:
// KeyNumbers(room). A thread weighs kWide windows at once: with 2, all threads have work from 256 blocks on. Ends
// synchronised.
template <int kPerThread, int kWide>
__device__ inline void Keys(const SelectionPlan& p, int lane, int32_t pos, int first, int room, bool by_query,
                            bool by_importance, float* memory, uint32_t (&keys)[2][kPerThread]) {
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarpSize, self = thread % kWarpSize;
  const int per_block = p.block_size / p.kernel_stride, windows = p.WindowsAt(pos);
  const int end = min(first + room, pos / p.block_size + 1);
  // Windows of these blocks, and the one before.
  const int first_window = first * per_block, end_window = min(end * per_block, windows);
  const int first_piece = first_window / kPiece, pieces = (windows + kPiece - 1) / kPiece;
  const int room_pieces = room * per_block / kPiece + 2;
  float* factors = memory;  // [group][room_pieces], from first_piece on; the last is that of the window before
  float* scores = factors + kMostGroup * room_pieces + 3;  // scores[w - first_window], from -1 on
  float* sigmas = scores + room * per_block + 4;
  const float* weights = p.WeightsOf(lane, 0);
  // The first weights are asked for before what they are multiplied by.
  float x[kMostGroup][kWide];
  const auto load = [&](int w) {
#pragma unroll
    for (int h = 0; h < kMostGroup; ++h) {
      if (h < p.group && w < end_window) LoadWide(weights + static_cast<int64_t>(h) * p.most_windows + w, x[h]);
    }
  };
  if (by_query) load(first_window + thread * kWide);
  if (by_importance) {
    const float* sigma = p.states[lane].sigma;
#pragma unroll 4
    for (int w = first_window - 1 + thread; w < end_window; w += kSelectThreads) {
      if (w >= 0) sigmas[w - first_window] = sigma[w];
    }
  }
  if (by_query) {
    for (int h = warp; h < p.group; h += kSelectWarps) {
      const float2* of_head = p.pieces + static_cast<int64_t>(lane) * p.most_pieces * p.group + h;
      float max = -INFINITY, sum = 0;
#pragma unroll 4
      for (int i = self; i < pieces; i += kWarpSize) {
        const float2 piece = of_head[static_cast<int64_t>(i) * p.group];
        const float now = fmaxf(max, piece.x);
        sum = sum * __expf(max - now) + piece.y * __expf(piece.x - now);
        max = now;
      }
      const float all = WarpMax(max);
      const float scale = 1.0f / WarpSum(max == -INFINITY ? 0.0f : sum * __expf(max - all));
      for (int i = first_piece - 1 + self; i * kPiece < end_window; i += kWarpSize) {
        if (i < 0) continue;
        const int at = i < first_piece ? room_pieces - 1 : i - first_piece;
        factors[h * room_pieces + at] = __expf(of_head[static_cast<int64_t>(i) * p.group].x - all) * scale;
      }
    }
    __syncthreads();
    for (int w = first_window + thread * kWide; w < end_window; w += kSelectThreads * kWide) {
      float score[kWide] = {};
      const float* factor = factors + (w / kPiece - first_piece);
#pragma unroll
      for (int h = 0; h < kMostGroup; ++h) {
        if (h >= p.group) break;
        const float f = factor[h * room_pieces];
#pragma unroll
        for (int i = 0; i < kWide; ++i) score[i] = fmaf(x[h][i], f, score[i]);
      }
      load(w + kSelectThreads * kWide);
      // Beyond the last window there is room, and nobody looks.
#pragma unroll
      for (int i = 0; i < kWide; ++i) scores[w - first_window + i] = score[i];
    }
    if (thread == 0 && first_window > 0) {
      float score = 0;
      const bool other = (first_window - 1) / kPiece < first_piece;
      for (int h = 0; h < p.group; ++h) {
        score = fmaf(weights[static_cast<int64_t>(h) * p.most_windows + first_window - 1],
                     factors[h * room_pieces + (other ? room_pieces - 1 : 0)], score);
      }
      scores[-1] = score;
    }
  }
  __syncthreads();
  const auto largest = [&](const float* values, int b) {
    float best = -INFINITY;
    for (int w = max(0, b * per_block - 1); w < min((b + 1) * per_block, windows); ++w) {
      best = fmaxf(best, values[w - first_window]);
    }
    return OrderedKey(best);
  };
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int b = first + thread + i * kSelectThreads;
    keys[0][i] = by_query && b < end ? largest(scores, b) : 0;
    keys[1][i] = by_importance && b < end ? largest(sigmas, b) : 0;
  }
  __syncthreads();
}

}  // namespace nosa::cuda
