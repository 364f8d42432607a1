// How a thread block finds its work in a plan of block attention: of a group's tiles those that some row of its slice
// can see, and whose state each row has there. For .cu files of this room only.
#pragma once

#include "backend/cuda/block_attention.h"

namespace nosa::cuda {

// The first ref of ascending rows whose row is at least `row`. Rows differ, so it is at most as far as the first
// ref's row is below: exactly there when the tile has every row, which is tried first.
__device__ inline int FirstRef(const ops::BlockAttentionArgs::Ref* refs, int count, int row) {
  if (count == 0) return 0;
  int low = 0, high = min(count, max(0, row - refs[0].row));
  if (high == 0 || refs[high - 1].row < row) return high;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (refs[middle].row < row) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low;
}

// The walk over one group for `rows` consecutive rows from `row0`. Lives in shared memory; all kThreads threads call
// each function together. The tiles of a plan are looked at kTiles at a time, less when the slice has many rows.
template <int kThreads, int kTiles, int kSlots, int kMaxRows>
struct TileWalk {
  static_assert(kTiles <= kThreads && kThreads % 32 == 0 && kSlots >= kMaxRows);
  struct Tile {
    const void* k;
    const void* v;
    const float* s;
    int32_t kv_head, first_pos, tokens;
    int32_t slot;  // of row r: states[slot + r - row0]
  };

  int32_t states[kSlots];  // -1: the row does not see the tile
  Tile tiles[kTiles];      // as planned, then those with work, in order
  int32_t ref_begin[kTiles], ref_count[kTiles];
  int32_t positions[kMaxRows];
  uint32_t useful[kThreads / 32];
  int32_t low[kThreads / 32], high[kThreads / 32];

  // Least and greatest row of tiles [first, last); false when they have none.
  __device__ bool FindRows(const AttentionPlan& plan, int first, int last, int* lowest, int* highest) {
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
    int least = INT32_MAX, most = -1;
    for (int t = first + thread; t < last; t += kThreads) {
      const int32_t begin = plan.tiles[t].ref_begin, count = plan.tiles[t].ref_count;
      if (count == 0) continue;
      least = min(least, plan.masks != nullptr ? begin : plan.refs[begin].row);
      most = max(most, plan.masks != nullptr ? begin + count - 1 : plan.refs[begin + count - 1].row);
    }
    least = __reduce_min_sync(0xffffffffu, least);
    most = __reduce_max_sync(0xffffffffu, most);
    if (thread % 32 == 0) {
      low[warp] = least;
      high[warp] = most;
    }
    __syncthreads();
    for (int w = 0; w < kThreads / 32; ++w) {
      least = min(least, low[w]);
      most = max(most, high[w]);
    }
    *lowest = least;
    *highest = most;
    return most >= 0;
  }

  // Before the tiles of a slice are looked at.
  __device__ void EnterSlice(const AttentionPlan& plan, int row0, int rows) {
    __syncthreads();
    for (int i = static_cast<int>(threadIdx.x); i < rows; i += kThreads) {
      positions[i] = row0 + i < plan.rows ? plan.positions[row0 + i] : -1;
    }
  }

  // Tiles looked at together in a slice of so many rows.
  __device__ static int Window(int rows) { return min(kTiles, kSlots / rows); }

  // Looks at plan.tiles[first .. first + count), count <= Window(rows); how many of them have work, in tiles[0 ..).
  __device__ int Look(const AttentionPlan& plan, int first, int count, int row0, int rows) {
    const int thread = static_cast<int>(threadIdx.x), warp = thread / 32;
    __syncthreads();  // others may still read the tiles looked at before
    if (thread < count) {
      const ops::AttentionTile tile = plan.tiles[first + thread];
      tiles[thread] = {tile.k, tile.v, tile.s, tile.kv_head, tile.first_pos, tile.tokens, 0};
      if (plan.masks != nullptr) {
        ref_begin[thread] = tile.ref_begin;
        ref_count[thread] = tile.ref_count;
      } else {
        const int begin = FirstRef(plan.refs + tile.ref_begin, tile.ref_count, row0);
        ref_begin[thread] = tile.ref_begin + begin;
        ref_count[thread] = tile.ref_count - begin;
      }
    }
    for (int i = thread; i < count * rows; i += kThreads) states[i] = -1;
    if (thread < kThreads / 32) useful[thread] = 0;
    __syncthreads();
    for (int i = thread; plan.masks != nullptr && i < count * rows; i += kThreads) {
      const int t = i / rows, slot = i % rows, row = row0 + slot;
      if (static_cast<unsigned>(row - ref_begin[t]) >= static_cast<unsigned>(ref_count[t]) ||
          min(tiles[t].tokens, positions[slot] - tiles[t].first_pos + 1) <= 0)
        continue;
      const int state = plan.StateOf(tiles[t].kv_head, row), block = tiles[t].first_pos / plan.block_size;
      if ((plan.masks[static_cast<int64_t>(state) * plan.mask_words + block / 64] >> (block % 64) & 1) == 0) continue;
      states[i] = state;
      atomicOr(&useful[t / 32], 1u << (t % 32));
    }
    for (int i = thread; plan.masks == nullptr && i < count * rows; i += kThreads) {
      const int t = i / rows, nth = i % rows;
      if (nth >= ref_count[t]) continue;
      const ops::BlockAttentionArgs::Ref ref = plan.refs[ref_begin[t] + nth];
      const int slot = ref.row - row0;
      if (static_cast<unsigned>(slot) >= static_cast<unsigned>(rows) ||
          min(tiles[t].tokens, positions[slot] - tiles[t].first_pos + 1) <= 0)
        continue;
      states[t * rows + slot] = ref.state;
      atomicOr(&useful[t / 32], 1u << (t % 32));
    }
    __syncthreads();
    int rank = 0, total = 0;
    for (int w = 0; w < kThreads / 32; ++w) {
      const int here = __popc(useful[w]);
      if (w < warp) rank += here;
      total += here;
    }
    Tile mine = {};
    const bool keep = thread < count && (useful[warp] >> (thread % 32) & 1u) != 0;
    if (keep) {
      mine = tiles[thread];
      mine.slot = thread * rows;
      rank += __popc(useful[warp] & ((1u << (thread % 32)) - 1));
    }
    __syncthreads();
    if (keep) tiles[rank] = mine;
    __syncthreads();
    return total;
  }
};

}  // namespace nosa::cuda
