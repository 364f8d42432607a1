// The weight of every head for every window of its lane, relative to the largest of a piece of windows, and the softmax
// statistics of the pieces.
#include <algorithm>

#include "backend/cuda/mma.cuh"
#include "backend/cuda/seat_selection.h"

namespace nosa::cuda {
namespace {

constexpr int kTiles = kPiece / ops::kWindowTile;
constexpr int kWarps = 4, kThreads = kWarps * kWarpSize;

// Any type and shape: a lane of the warp takes windows lane and lane + 32 of the piece.
template <typename T>
__global__ void __launch_bounds__(kThreads) PlainWeights(const SelectionPlan p) {
  LetNextStart();
  WaitForPrevious();
  const int lane = static_cast<int>(blockIdx.y), seat = lane / p.kv_heads, g = lane % p.kv_heads;
  const int32_t pos = p.positions[seat];
  const int windows = pos < 0 ? 0 : p.WindowsAt(pos);
  const int piece = static_cast<int>(blockIdx.x) * kWarps + static_cast<int>(threadIdx.x) / kWarpSize;
  const int self = static_cast<int>(threadIdx.x) % kWarpSize;
  if (piece * kPiece >= windows) return;
  const T* keys = static_cast<const T*>(p.states[lane].keys);
  for (int h = 0; h < p.group; ++h) {
    const float* q = p.q + seat * p.q_stride + static_cast<int64_t>(g * p.group + h) * p.dim;
    float logit[2] = {-INFINITY, -INFINITY};
    for (int i = 0; i < 2; ++i) {
      const int w = piece * kPiece + i * kWarpSize + self;
      if (w >= windows) continue;
      const T* key =
          keys + static_cast<int64_t>(w / ops::kWindowTile) * p.dim * ops::kWindowTile + w % ops::kWindowTile;
      float sum = 0;
      for (int d = 0; d < p.dim; ++d) sum += q[d] * ToFloat(key[static_cast<int64_t>(d) * ops::kWindowTile]);
      logit[i] = sum * p.scale;
    }
    const float max = WarpMax(fmaxf(logit[0], logit[1]));
    const float weight[2] = {expf(logit[0] - max), expf(logit[1] - max)};
    for (int i = 0; i < 2; ++i) {
      const int w = piece * kPiece + i * kWarpSize + self;
      if (w < windows) p.WeightsOf(lane, h)[w] = weight[i];
    }
    const float sum = WarpSum(weight[0] + weight[1]);
    if (self == 0) p.PiecesOf(lane, piece)[h] = make_float2(max, sum);
  }
}

// Where a warp is among all pieces of all lanes, seat by seat, KV head by KV head.
struct PieceCursor {
  int seat = 0, g = 0, piece = 0;
  int pieces = 0, windows = 0;  // of the seat

  __device__ void EnterSeat(const SelectionPlan& p) {
    for (; seat < p.seats; ++seat) {
      const int32_t pos = p.positions[seat];
      windows = pos < 0 ? 0 : p.WindowsAt(pos);
      pieces = (windows + kPiece - 1) / kPiece;
      if (pieces > 0) return;
    }
  }
  // True where that leaves the lane.
  __device__ bool Next(const SelectionPlan& p) {
    if (++piece < pieces) return false;
    piece = 0;
    if (++g < p.kv_heads) return true;
    g = 0;
    ++seat;
    EnterSeat(p);
    return true;
  }
  __device__ int lane(const SelectionPlan& p) const { return seat * p.kv_heads + g; }
};

// The pieces of warp `index` of `warps`: an equal share of all there are, whatever the seats' lengths. Returns how
// many.
__device__ int FindPieces(const SelectionPlan& p, int index, int warps, PieceCursor* at) {
  const int self = static_cast<int>(threadIdx.x) % kWarpSize;
  const auto lane_pieces = [&](int seat) {
    const int32_t pos = seat < p.seats ? p.positions[seat] : -1;
    return pos < 0 ? 0 : (p.WindowsAt(pos) + kPiece - 1) / kPiece;
  };
  int64_t total = 0;
  for (int first = 0; first < p.seats; first += kWarpSize) total += WarpSum(lane_pieces(first + self));
  total *= p.kv_heads;
  const int64_t begin = total * index / warps, end = total * (index + 1) / warps;
  if (begin == end) return 0;
  int64_t before = 0;
  for (int first = 0; first < p.seats; first += kWarpSize) {
    const int mine = lane_pieces(first + self) * p.kv_heads;
    int upto = mine;
#pragma unroll
    for (int step = 1; step < kWarpSize; step *= 2) {
      const int from = __shfl_up_sync(kAllLanes, upto, step);
      if (self >= step) upto += from;
    }
    const unsigned after = __ballot_sync(kAllLanes, before + upto > begin);
    if (after != 0) {
      const int found = __ffs(static_cast<int>(after)) - 1;
      const int64_t in_seat = begin - before - __shfl_sync(kAllLanes, upto - mine, found);
      at->seat = first + found;
      at->EnterSeat(p);
      at->g = static_cast<int>(in_seat / at->pieces);
      at->piece = static_cast<int>(in_seat % at->pieces);
      break;
    }
    before += __shfl_sync(kAllLanes, upto, kWarpSize - 1);
  }
  return static_cast<int>(end - begin);
}

// bf16 summaries, head size Dim, groups of up to 16: keys are the rows of the product (16 windows of a tile), heads its
// columns. A warp takes some pieces one after the other, and has a piece's worth of keys on their way all the time:
// where a tile has been used, the same tile of its next piece is fetched.
template <int Dim>
__global__ void __launch_bounds__(kThreads) MmaWeights(const SelectionPlan p) {
  extern __shared__ __align__(16) uint16_t shared[];
  LetNextStart();
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, self = static_cast<int>(threadIdx.x) % kWarpSize;
  const int quad = self % 4, group = self / 4;
  PieceCursor at;
  const int count =
      FindPieces(p, static_cast<int>(blockIdx.x) * kWarps + warp, static_cast<int>(gridDim.x) * kWarps, &at);

  constexpr int kTileNumbers = Dim * ops::kWindowTile;
  uint16_t* own = shared + warp * kTiles * kTileNumbers;
  // One group of copies, empty where there is no such tile.
  const auto fetch = [&](const PieceCursor& of, const uint16_t* keys, int tile) {
    if (of.piece * kPiece + tile * ops::kWindowTile < of.windows) {
      const uint16_t* from = keys + (static_cast<int64_t>(of.piece) * kTiles + tile) * kTileNumbers;
#pragma unroll
      for (int i = 0; i < kTileNumbers / 8 / kWarpSize; ++i) {
        const int to = (i * kWarpSize + self) * 8;
        CopyAsync16(SharedAddress(own + tile * kTileNumbers + to), from + to, true);
      }
    }
    CommitCopies();
  };
  const auto keys_of = [&](const PieceCursor& of) { return static_cast<const uint16_t*>(p.states[of.lane(p)].keys); };
  // This step's token changes the newest window alone: tiles below that window's are as the step before has left them.
  int settled = 0;
  if (count > 0) {
    const uint16_t* keys = keys_of(at);
    settled = max(0, min(kTiles, (at.windows - 1 - at.piece * kPiece) / ops::kWindowTile));
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      if (tile < settled) fetch(at, keys, tile);
    }
  }
  WaitForPrevious();
  if (count == 0) return;
  PieceCursor ahead = at;
  const uint16_t* ahead_keys = keys_of(at);
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    if (tile >= settled) fetch(ahead, ahead_keys, tile);
  }

  // Columns n of the product are heads; two tiles of 8. The query as two bf16 terms.
  uint32_t q[2][Dim / 16][2], rest[2][Dim / 16][2];
  const auto load_query = [&] {
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      const int h = n * 8 + group;
      const float* head = p.q + at.seat * p.q_stride + static_cast<int64_t>(at.g * p.group + h) * Dim;
#pragma unroll
      for (int step = 0; step < Dim / 16; ++step) {
#pragma unroll
        for (int half = 0; half < 2; ++half) {
          float2 x = make_float2(0, 0);
          if (h < p.group) x = *reinterpret_cast<const float2*>(head + step * 16 + half * 8 + quad * 2);
          uint32_t terms[2];
          SplitBf16(x.x, x.y, terms);
          q[n][step][half] = terms[0];
          rest[n][step][half] = terms[1];
        }
      }
    }
  };
  load_query();

  for (int left = count; left > 0; --left) {
    const int lane = at.lane(p), piece = at.piece, windows = at.windows;
    if (left > 1 && ahead.Next(p)) ahead_keys = keys_of(ahead);
    float d[kTiles][2][4];
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      WaitForCopies<kTiles - 1>();  // this tile's group is the oldest of four
      __syncwarp();
      float high[2][4] = {}, low[2][4] = {};  // by term: chains half as long
#pragma unroll
      for (int step = 0; step < Dim / 16; ++step) {
        // A [16 windows, 16 channels] lies transposed: matrices (channels 0-7, windows 0-7), (0-7, 8-15), (8-15, 0-7),
        // (8-15, 8-15).
        const int matrix = self / 8, channel = step * 16 + (matrix / 2) * 8 + self % 8;
        uint32_t a[4];
        LoadMatricesTransposed(
            a, SharedAddress(own + tile * kTileNumbers + channel * ops::kWindowTile + (matrix % 2) * 8));
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          if (n * 8 >= p.group) break;
          MultiplyAdd(high[n], a, q[n][step][0], q[n][step][1]);
          MultiplyAdd(low[n], a, rest[n][step][0], rest[n][step][1]);
        }
      }
      __syncwarp();  // the tile has been read by all
      if (left > 1) {
        fetch(ahead, ahead_keys, tile);
      } else {
        CommitCopies();
      }
#pragma unroll
      for (int n = 0; n < 2; ++n) {
#pragma unroll
        for (int i = 0; i < 4; ++i) {
          const int w = piece * kPiece + tile * ops::kWindowTile + group + (i / 2) * 8, h = n * 8 + quad * 2 + i % 2;
          const bool there = w < windows && h < p.group;
          d[tile][n][i] = there ? (high[n][i] + low[n][i]) * p.scale : -INFINITY;
        }
      }
    }
    // Over this lane's windows, then over the eight groups of lanes that hold the same heads.
#pragma unroll
    for (int n = 0; n < 2; ++n) {
      if (n * 8 >= p.group) break;
#pragma unroll
      for (int c = 0; c < 2; ++c) {
        float m = -INFINITY;
#pragma unroll
        for (int tile = 0; tile < kTiles; ++tile) m = fmaxf(m, fmaxf(d[tile][n][c], d[tile][n][c + 2]));
#pragma unroll
        for (int other = 4; other < kWarpSize; other *= 2) m = fmaxf(m, __shfl_xor_sync(kAllLanes, m, other));
        float l = 0;
        const int h = n * 8 + quad * 2 + c;
        if (m != -INFINITY) {
          float* to = p.WeightsOf(lane, h) + piece * kPiece + group;
#pragma unroll
          for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              const float weight = __expf(d[tile][n][c + 2 * half] - m);
              l += weight;
              to[tile * ops::kWindowTile + half * 8] = weight;  // 0 of windows that there are not
            }
          }
        }
#pragma unroll
        for (int other = 4; other < kWarpSize; other *= 2) l += __shfl_xor_sync(kAllLanes, l, other);
        if (group == 0 && h < p.group) p.PiecesOf(lane, piece)[h] = make_float2(m, l);
      }
    }
    if (left > 1 && at.Next(p)) load_query();
  }
}

template <int Dim>
void LaunchMma(Context& context, cudaStream_t stream, const SelectionPlan& plan) {
  constexpr size_t kShared = size_t{kWarps} * kPiece * Dim * 2;
  AllowShared(reinterpret_cast<const void*>(&MmaWeights<Dim>), kShared);
  // As many CTAs as there is room for at once; each goes through its pieces.
  constexpr unsigned kCtas = 3;
  const unsigned wanted = GridFor(int64_t{plan.most_pieces} * plan.lanes(), kWarps);
  const unsigned ctas = std::min(wanted, kCtas * static_cast<unsigned>(context.multiprocessors()));
  Launch(&MmaWeights<Dim>, dim3(ctas), dim3(kThreads), kShared, stream, plan);
}

}  // namespace

void WeighSeatWindows(Context& context, cudaStream_t stream, const SelectionPlan& plan, DType summary_dtype) {
  const bool mma =
      summary_dtype == DType::kBF16 && plan.q_stride % 2 == 0 && reinterpret_cast<uintptr_t>(plan.q) % 8 == 0;
  if (mma && plan.dim == 128) return LaunchMma<128>(context, stream, plan);
  if (mma && plan.dim == 64) return LaunchMma<64>(context, stream, plan);
  const dim3 grid(GridFor(plan.most_pieces, kWarps), static_cast<unsigned>(plan.lanes()));
  DispatchFloat(summary_dtype, [&]<typename T>() { Launch(&PlainWeights<T>, grid, dim3(kThreads), 0, stream, plan); });
}

}  // namespace nosa::cuda
