// The weights of every query head for every window, relative to the largest of a piece of windows; then one CTA per
// lane that makes of them the scores of the blocks, as keys that order like the scores, and selects. The keys of many
// blocks are a kernel of their own.
#include "ops/select_blocks.h"

#include <algorithm>

#include "backend/cuda/context.h"
#include "backend/cuda/mma.cuh"

namespace nosa::cuda {
namespace {

// Windows of one warp: the unit of the statistics.
constexpr int kPiece = 64;
constexpr int kTiles = kPiece / ops::kWindowTile;
constexpr int kWarps = 4, kLogitThreads = kWarps * kWarpSize;
constexpr int kSelectThreads = 512;
constexpr int kMostGroup = 16;

// A trace as kernels read it.
struct Replay {
  ops::SelectionTrace trace;
  int first_lane;
  const int32_t* step;
  int stagger;

  __device__ int Pick(int lane, int seat, int kv_heads, int i) const {
    const int64_t at =
        (static_cast<int64_t>(seat % trace.rows) * trace.steps + (*step + stagger * seat) % trace.steps) * trace.lanes +
        first_lane + lane % kv_heads;
    return trace.picks[at * trace.width + i];
  }
};

struct Params {
  const float* q;
  int64_t q_stride;
  const int32_t* positions;
  const ops::WindowState* states;
  ops::SelectionRule rule;
  ops::StepSelection selection;
  int kv_heads, group, dim;
  int block_size, kernel_size, kernel_stride;
  float scale;
  // Per lane: windows and pieces that there is room for.
  int most_windows = 0, most_pieces = 0;
  float* weights = nullptr;  // [lanes, group, most_windows]: exp(logit - maximum of the piece)
  float2* pieces = nullptr;  // [lanes, most_pieces, group]: maximum, sum of exp(logit - maximum)
  uint32_t* keys = nullptr;  // [lanes, 2, max_blocks]
  int max_blocks = 0;
  Replay replay = {};

  __device__ int WindowsAt(int32_t pos) const {
    return pos + 1 < kernel_size ? 0 : (pos + 1 - kernel_size) / kernel_stride + 1;
  }
};

// Softmax statistics of a piece, over the lanes that hold its windows; `store` on one lane per head.
__device__ void StorePiece(const Params& p, int lane, int piece, int head, float max, float sum) {
  p.pieces[(static_cast<int64_t>(lane) * p.most_pieces + piece) * p.group + head] = make_float2(max, sum);
}

// Any type and shape: a lane of the warp takes windows lane and lane + 32 of the piece.
template <typename T>
__global__ void __launch_bounds__(kLogitThreads) PlainLogits(const Params p) {
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
      if (w < windows) p.weights[(static_cast<int64_t>(lane) * p.group + h) * p.most_windows + w] = weight[i];
    }
    const float sum = WarpSum(weight[0] + weight[1]);
    if (self == 0) StorePiece(p, lane, piece, h, max, sum);
  }
}

// Where a warp is among all pieces of all lanes, seat by seat, KV head by KV head.
struct PieceCursor {
  int seat = 0, g = 0, piece = 0;
  int pieces = 0, windows = 0;  // of the seat

  __device__ void EnterSeat(const Params& p, int seats) {
    for (; seat < seats; ++seat) {
      const int32_t pos = p.positions[seat];
      windows = pos < 0 ? 0 : p.WindowsAt(pos);
      pieces = (windows + kPiece - 1) / kPiece;
      if (pieces > 0) return;
    }
  }
  // True where that leaves the lane.
  __device__ bool Next(const Params& p, int seats) {
    if (++piece < pieces) return false;
    piece = 0;
    if (++g < p.kv_heads) return true;
    g = 0;
    ++seat;
    EnterSeat(p, seats);
    return true;
  }
  __device__ int lane(const Params& p) const { return seat * p.kv_heads + g; }
};

// The pieces of warp `index` of `warps`: an equal share of all there are, whatever the seats' lengths. Returns how
// many.
__device__ int FindPieces(const Params& p, int seats, int index, int warps, PieceCursor* at) {
  const int self = static_cast<int>(threadIdx.x) % kWarpSize;
  const auto lane_pieces = [&](int seat) {
    const int32_t pos = seat < seats ? p.positions[seat] : -1;
    return pos < 0 ? 0 : (p.WindowsAt(pos) + kPiece - 1) / kPiece;
  };
  int64_t total = 0;
  for (int first = 0; first < seats; first += kWarpSize) total += WarpSum(lane_pieces(first + self));
  total *= p.kv_heads;
  const int64_t begin = total * index / warps, end = total * (index + 1) / warps;
  if (begin == end) return 0;
  int64_t before = 0;
  for (int first = 0; first < seats; first += kWarpSize) {
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
      at->EnterSeat(p, seats);
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
__global__ void __launch_bounds__(kLogitThreads) MmaLogits(const Params p, int seats) {
  extern __shared__ __align__(16) uint16_t shared[];
  LetNextStart();
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, self = static_cast<int>(threadIdx.x) % kWarpSize;
  const int quad = self % 4, group = self / 4;
  PieceCursor at;
  const int count =
      FindPieces(p, seats, static_cast<int>(blockIdx.x) * kWarps + warp, static_cast<int>(gridDim.x) * kWarps, &at);

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
    if (left > 1 && ahead.Next(p, seats)) ahead_keys = keys_of(ahead);
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
          float* to = p.weights + (static_cast<int64_t>(lane) * p.group + h) * p.most_windows + piece * kPiece + group;
#pragma unroll
          for (int tile = 0; tile < kTiles; ++tile) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              const float weight = __expf(d[tile][n][c + 2 * half] - m);
              l += weight;
              to[tile * ops::kWindowTile + half * 8] =
                  weight;  // of windows that there are not: 0, in the room of the piece
            }
          }
        }
#pragma unroll
        for (int other = 4; other < kWarpSize; other *= 2) l += __shfl_xor_sync(kAllLanes, l, other);
        if (group == 0 && h < p.group) StorePiece(p, lane, piece, h, m, l);
      }
    }
    if (left > 1 && at.Next(p, seats)) load_query();
  }
}

constexpr int kSelectWarps = kSelectThreads / kWarpSize;
constexpr int kDigits = 2048;  // of a turn of the radix selection: 11 bits
constexpr int kDigitBits = 11;

// What a CTA that selects shares.
struct SelectShared {
  int counts[kDigits];  // all 0 between selections
  uint32_t low[kSelectWarps], high[kSelectWarps];
  int sums[kSelectWarps];
  uint32_t digit;
  int above, equal;
};

// Makes members of the blocks of largest key until there are `members`, `present` of which there are already; ties go
// to the lower block. Block thread + i * kSelectThreads has keys[i] (0: there is none) and is bit i of `member`. `ties`
// and `taken`: shared memory for a bit per block. All threads call; ends synchronised.
//
// A digit of the keys a turn, the largest first: how many keys have each digit, and among which of them the last member
// is. Digits count from the least key, and cover no more than the largest: keys that are close together fall apart.
template <int kPerThread>
__device__ void FillMembers(const uint32_t (&keys)[kPerThread], int blocks, int members, int present,
                            SelectShared* shared, uint32_t* ties, uint32_t* taken, uint64_t* member) {
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarpSize, self = thread % kWarpSize;
  if (members <= present) return;
  uint32_t key[kPerThread];  // 0 for who does not compete
  uint32_t low = 0xffffffffu, high = 0;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const bool competes = thread + i * kSelectThreads < blocks && (*member >> i & 1) == 0;
    key[i] = competes ? max(keys[i], 1u) : 0;  // a score that is no number comes last
    if (key[i] != 0) low = min(low, key[i]);
    high = max(high, key[i]);
  }
  if (members >= blocks) {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      if (thread + i * kSelectThreads < blocks) *member |= uint64_t{1} << i;
    }
    return;
  }
  low = __reduce_min_sync(kAllLanes, low);
  high = __reduce_max_sync(kAllLanes, high);
  if (self == 0) {
    shared->low[warp] = low;
    shared->high[warp] = high;
  }
  __syncthreads();
  low = __reduce_min_sync(kAllLanes, shared->low[self % kSelectWarps]);
  high = __reduce_max_sync(kAllLanes, shared->high[self % kSelectWarps]);

  int wanted = members - present;
  uint32_t base = low;  // of the range that the last member's key is in
  int shift = max(0, 32 - __clz(static_cast<int>(high - low)) - kDigitBits);
  uint32_t range = 0xffffffffu;  // keys up to base + range are in it
  bool exact = false;            // all keys from `base` on join
  while (true) {
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      if (key[i] >= base && key[i] - base <= range && key[i] != 0) {
        atomicAdd(&shared->counts[(key[i] - base) >> shift], 1);
      }
    }
    __syncthreads();
    // A thread has four digits, the first the largest ones.
    int4* mine = reinterpret_cast<int4*>(shared->counts) + (kSelectThreads - 1 - thread);
    const int4 count = *mine;
    *mine = make_int4(0, 0, 0, 0);
    const int all = count.x + count.y + count.z + count.w;
    int upto = all;
#pragma unroll
    for (int step = 1; step < kWarpSize; step *= 2) {
      const int from = __shfl_up_sync(kAllLanes, upto, step);
      if (self >= step) upto += from;
    }
    if (self == kWarpSize - 1) shared->sums[warp] = upto;
    __syncthreads();
    const int others = __reduce_add_sync(kAllLanes, self < warp ? shared->sums[self] : 0);
    int before = others + upto - all;
    if (before < wanted && before + all >= wanted) {
      const int each[4] = {count.w, count.z, count.y, count.x};
      uint32_t digit = static_cast<uint32_t>(kSelectThreads - 1 - thread) * 4 + 3;
      bool found = false;
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        if (found) continue;
        if (before + each[i] >= wanted) {
          shared->digit = digit;
          shared->above = before;
          shared->equal = each[i];
          found = true;
        }
        before += each[i];
        --digit;
      }
    }
    __syncthreads();
    wanted -= shared->above;
    base += shared->digit << shift;
    exact = shared->equal == wanted;
    if (exact || shift == 0) break;
    range = (1u << shift) - 1;
    shift = max(0, shift - kDigitBits);
  }
  // A warp's blocks of one i are the bits of one word.
  uint64_t joins = 0, equal = 0;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    if (key[i] != 0 && (exact ? key[i] >= base : key[i] > base)) joins |= uint64_t{1} << i;
    if (key[i] != 0 && !exact && key[i] == base) equal |= uint64_t{1} << i;
  }
  *member |= joins;
  if (exact) return;
  // Of those that tie with the last one, the lowest.
  const int words = (blocks + 31) / 32;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const uint32_t votes = __ballot_sync(kAllLanes, (equal >> i & 1) != 0);
    const int w = warp + i * kSelectWarps;
    if (self == 0 && w < words) ties[w] = votes;
  }
  __syncthreads();
  if (warp == 0) {
    int left = wanted;
    for (int first = 0; first < words; first += kWarpSize) {
      const int w = first + self, n = w < words ? __popc(ties[w]) : 0;
      int before = n;
#pragma unroll
      for (int step = 1; step < kWarpSize; step *= 2) {
        const int from = __shfl_up_sync(kAllLanes, before, step);
        if (self >= step) before += from;
      }
      const int all = __shfl_sync(kAllLanes, before, kWarpSize - 1);
      uint32_t some = 0;
      int take = min(n, max(0, left - (before - n)));
      for (uint32_t bits = w < words ? ties[w] : 0; take > 0; --take, bits &= bits - 1) some |= bits & (0u - bits);
      if (w < words) taken[w] = some;
      left -= min(left, all);
    }
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int w = warp + i * kSelectWarps;
    if (w < words && (taken[w] >> self & 1) != 0) *member |= uint64_t{1} << i;
  }
  __syncthreads();
}

// Shared memory of Keys for `blocks` blocks, in numbers: factors, scores by Q, and E.
__host__ __device__ inline int KeyNumbers(int blocks, int per_block) {
  const int windows = blocks * per_block;
  return kMostGroup * (windows / kPiece + 2) + 2 * (windows + 4);
}

// The keys by Q and by E of blocks first + thread + i * kSelectThreads, 0 beyond the last; `room`: of how many blocks
// `memory` has room for KeyNumbers. Ends synchronised.
template <int kPerThread>
__device__ void Keys(const Params& p, int lane, int32_t pos, int first, int room, bool by_query, bool by_importance,
                     float* memory, uint32_t (&keys)[2][kPerThread]) {
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarpSize, self = thread % kWarpSize;
  const int per_block = p.block_size / p.kernel_stride, windows = p.WindowsAt(pos);
  const int end = min(first + kPerThread * kSelectThreads, pos / p.block_size + 1);
  // Windows of these blocks, and the one before.
  const int first_window = first * per_block, end_window = min(end * per_block, windows);
  const int first_piece = first_window / kPiece, pieces = (windows + kPiece - 1) / kPiece;
  const int room_pieces = room * per_block / kPiece + 2;
  float* factors = memory;  // [group][room_pieces], from first_piece on; the last is that of the window before
  float* scores = factors + kMostGroup * room_pieces + 3;  // scores[w - first_window], from -1 on
  float* sigmas = scores + room * per_block + 4;
  const float* weights = p.weights + static_cast<int64_t>(lane) * p.group * p.most_windows;
  // The first weights are asked for before what they are multiplied by.
  float4 x[kMostGroup];
  const auto load = [&](int w) {
#pragma unroll
    for (int h = 0; h < kMostGroup; ++h) {
      if (h < p.group && w < end_window) x[h] = Load4(weights + static_cast<int64_t>(h) * p.most_windows + w);
    }
  };
  if (by_query) load(first_window + thread * 4);
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
    for (int w = first_window + thread * 4; w < end_window; w += kSelectThreads * 4) {
      float4 score = make_float4(0, 0, 0, 0);
      const float* factor = factors + (w / kPiece - first_piece);
#pragma unroll
      for (int h = 0; h < kMostGroup; ++h) {
        if (h >= p.group) break;
        const float f = factor[h * room_pieces];
        score = make_float4(fmaf(x[h].x, f, score.x), fmaf(x[h].y, f, score.y), fmaf(x[h].z, f, score.z),
                            fmaf(x[h].w, f, score.w));
      }
      load(w + kSelectThreads * 4);
      float* to = scores + (w - first_window);  // beyond the last window there is room, and nobody looks
      to[0] = score.x;
      to[1] = score.y;
      to[2] = score.z;
      to[3] = score.w;
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

// Keys of many blocks, by several CTAs a lane: CTA (i, lane) those of kSelectThreads blocks.
__global__ void __launch_bounds__(kSelectThreads) BlockKeys(const Params p) {
  extern __shared__ float key_memory[];
  LetNextStart();
  WaitForPrevious();
  const int lane = static_cast<int>(blockIdx.y), first = static_cast<int>(blockIdx.x) * kSelectThreads;
  const int32_t pos = p.positions[lane / p.kv_heads];
  const int b = first + static_cast<int>(threadIdx.x);
  if (pos < 0 || first > pos / p.block_size) return;
  uint32_t keys[2][1];
  Keys<1>(p, lane, pos, first, kSelectThreads, p.rule.query_blocks > 0, p.rule.topk > 0, key_memory, keys);
  if (b > pos / p.block_size) return;
  uint32_t* to = p.keys + static_cast<int64_t>(lane) * 2 * p.max_blocks;
  to[b] = keys[0][0];
  to[p.max_blocks + b] = keys[1][0];
}

// Writes the blocks with a bit in mask[0 .. words) in ascending order, `room` at most, and returns how many there are.
// All threads call; `prefix` is shared memory for words + 1 numbers.
__device__ int EmitBlocks(const uint32_t* mask, int words, int32_t* prefix, int32_t* ids, int room) {
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, self = static_cast<int>(threadIdx.x) % kWarpSize;
  if (warp == 0) {
    int sum = 0;
    for (int first = 0; first < words; first += kWarpSize) {
      int n = first + self < words ? __popc(mask[first + self]) : 0;
#pragma unroll
      for (int step = 1; step < kWarpSize; step *= 2) {
        const int below = __shfl_up_sync(kAllLanes, n, step);
        if (self >= step) n += below;
      }
      if (first + self < words) prefix[first + self + 1] = sum + n;
      sum += __shfl_sync(kAllLanes, n, kWarpSize - 1);
    }
    if (self == 0) prefix[0] = 0;
  }
  __syncthreads();
  for (int w = warp; w < words; w += kSelectWarps) {
    const uint32_t bits = mask[w];
    const int at = prefix[w] + __popc(bits & ((1u << self) - 1));
    if ((bits >> self & 1) != 0 && at < room) ids[at] = w * 32 + self;
  }
  return prefix[words];
}

// One CTA per lane, for up to kPerThread * kSelectThreads blocks. kOwnKeys: it makes the keys itself, else BlockKeys
// has. Shared memory: SelectShared, members, ties and those taken of them, prefix [words + 1], with kOwnKeys also
// Keys's.
template <int kPerThread, bool kOwnKeys>
__global__ void __launch_bounds__(kSelectThreads) SelectBlocks(const Params p) {
  extern __shared__ __align__(16) uint32_t select_memory[];
  const int thread = static_cast<int>(threadIdx.x), warp = thread / kWarpSize, self = thread % kWarpSize;
  const int most_words = (p.max_blocks + 31) / 32;
  SelectShared* shared = reinterpret_cast<SelectShared*>(select_memory);
  uint32_t *mask = select_memory + sizeof(SelectShared) / 4, *ties = mask + most_words, *taken = ties + most_words;
  int32_t* prefix = reinterpret_cast<int32_t*>(taken + most_words);
  LetNextStart();
  reinterpret_cast<int4*>(shared->counts)[thread] = make_int4(0, 0, 0, 0);
  WaitForPrevious();
  const int lane = static_cast<int>(blockIdx.x), seat = lane / p.kv_heads;
  const int32_t pos = p.positions[seat];
  if (pos < 0) {
    if (thread == 0) p.selection.counts[lane] = 0;
    return;
  }
  const int own = pos / p.block_size, blocks = own + 1, words = (blocks + 31) / 32;
  const ops::SelectionTrace& trace = p.replay.trace;
  int pick = -1;
  if (trace.picks != nullptr && thread < trace.width) pick = p.replay.Pick(lane, seat, p.kv_heads, thread);
  uint32_t keys[2][kPerThread];
  const auto load_keys = [&](int stage) {
    const uint32_t* from = p.keys + (static_cast<int64_t>(lane) * 2 + stage) * p.max_blocks;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int b = thread + i * kSelectThreads;
      keys[stage][i] = b < blocks ? from[b] : 0;
    }
  };
  if constexpr (kOwnKeys) {
    Keys<kPerThread>(p, lane, pos, 0, p.max_blocks, p.rule.query_blocks > 0, p.rule.topk > 0,
                     reinterpret_cast<float*>(prefix + most_words + 1), keys);
  } else {
    if (p.rule.query_blocks > 0) load_keys(0);
    __syncthreads();  // the counts are 0
  }
  const int recent = max(0, own - p.rule.local_blocks), first = min(p.rule.init_blocks, blocks);
  int present = first + blocks - max(first, recent);
  uint64_t member = 0;
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const int b = thread + i * kSelectThreads;
    if (b < blocks && (b < first || b >= recent)) member |= uint64_t{1} << i;
  }
  FillMembers(keys[0], blocks, p.rule.query_blocks, present, shared, ties, taken, &member);
  if (!kOwnKeys && p.rule.topk > 0) load_keys(1);
  present = max(present, min(p.rule.query_blocks, blocks));
  FillMembers(keys[1], blocks, p.rule.topk, present, shared, ties, taken, &member);
  if (trace.picks != nullptr) {
    member = 0;
#pragma unroll
    for (int i = 0; i < kPerThread; ++i) {
      const int b = thread + i * kSelectThreads;
      if (b < blocks && (b < first || b >= recent)) member |= uint64_t{1} << i;
    }
  }
#pragma unroll
  for (int i = 0; i < kPerThread; ++i) {
    const uint32_t votes = __ballot_sync(kAllLanes, (member >> i & 1) != 0);
    const int w = warp + i * kSelectWarps;
    if (self == 0 && w < words) mask[w] = votes;
  }
  __syncthreads();
  if (trace.picks != nullptr) {
    for (int i = thread; i < trace.width; i += kSelectThreads) {
      const int b = p.rule.init_blocks + (i == thread ? pick : p.replay.Pick(lane, seat, p.kv_heads, i));
      if (b < recent) atomicOr(mask + b / 32, 1u << (b % 32));
    }
    __syncthreads();
  }
  const int count = EmitBlocks(mask, words, prefix, p.selection.ids + static_cast<int64_t>(lane) * p.selection.width,
                               p.selection.width);
  if (thread == 0) p.selection.counts[lane] = count;
}

// All of them.
__global__ void SelectEvery(const Params p) {
  LetNextStart();
  WaitForPrevious();
  const int lane = static_cast<int>(blockIdx.y);
  const int32_t pos = p.positions[lane / p.kv_heads];
  const int blocks = pos < 0 ? 0 : pos / p.block_size + 1;
  const int b = static_cast<int>(blockIdx.x * blockDim.x + threadIdx.x);
  if (b == 0) p.selection.counts[lane] = blocks;
  if (b < blocks) p.selection.ids[static_cast<int64_t>(lane) * p.selection.width + b] = b;
}

}  // namespace

void select_blocks(ops::Backend& backend, ops::Stream stream, const ops::SelectBlocksArgs& args) {
  const int lanes = static_cast<int>(args.positions.size()) * args.kv_heads;
  if (lanes == 0) return;
  Context& context = ContextOf(backend);
  const cudaStream_t queue = context.stream(stream);
  Params p = {.q = args.q.row<float>(0),
              .q_stride = args.q.row_stride(),
              .positions = context.Stage(args.positions, stream),
              .states = context.Stage(args.states, stream),
              .rule = args.rule,
              .selection = args.selection,
              .kv_heads = args.kv_heads,
              .group = static_cast<int>(args.q.dim(1)) / args.kv_heads,
              .dim = static_cast<int>(args.q.dim(2)),
              .block_size = args.block_size,
              .kernel_size = args.kernel_size,
              .kernel_stride = args.kernel_stride,
              .scale = args.scale};
  p.replay = {args.replay.trace, args.replay.lane, args.replay.step, args.replay.stagger};
  NOSA_CHECK(p.group <= kMostGroup, "select_blocks: groups of {} heads", p.group);
  const bool by_query = args.rule.query_blocks > 0 && !args.rule.every_block;
  const bool by_importance = args.rule.topk > 0 && !args.rule.every_block;
  const size_t rows = static_cast<size_t>(lanes);
  p.max_blocks = args.max_blocks;
  if (by_query) {
    const int windows = args.max_blocks * args.block_size / args.kernel_stride;
    p.most_pieces = (windows + kPiece - 1) / kPiece;
    p.most_windows = p.most_pieces * kPiece;
  }
  if (by_query || by_importance) {
    const size_t weights = rows * static_cast<size_t>(p.most_windows * p.group) * sizeof(float);
    const size_t pieces = rows * static_cast<size_t>(p.most_pieces * p.group) * sizeof(float2);
    const size_t keys = rows * 2 * static_cast<size_t>(p.max_blocks) * sizeof(uint32_t);
    std::byte* scratch = static_cast<std::byte*>(context.Scratch(weights + pieces + keys, stream));
    p.weights = reinterpret_cast<float*>(scratch);
    p.pieces = reinterpret_cast<float2*>(scratch + weights);
    p.keys = reinterpret_cast<uint32_t*>(scratch + weights + pieces);
  }
  if (by_query) {
    const bool aligned = p.q_stride % 2 == 0 && reinterpret_cast<uintptr_t>(p.q) % 8 == 0;
    const auto mma = [&]<int Dim>() {
      constexpr size_t kShared = size_t{kWarps} * kPiece * Dim * 2;
      AllowShared(reinterpret_cast<const void*>(&MmaLogits<Dim>), kShared);
      // As many CTAs as there is room for at once; each goes through its pieces.
      constexpr unsigned kCtas = 3;
      const unsigned wanted = GridFor(int64_t{p.most_pieces} * lanes, kWarps);
      const unsigned ctas = std::min(wanted, kCtas * static_cast<unsigned>(context.multiprocessors()));
      Launch(&MmaLogits<Dim>, dim3(ctas), dim3(kLogitThreads), kShared, queue, p,
             static_cast<int>(args.positions.size()));
    };
    if (args.summary_dtype == DType::kBF16 && p.group <= kMostGroup && aligned && p.dim == 128) {
      mma.template operator()<128>();
    } else if (args.summary_dtype == DType::kBF16 && p.group <= kMostGroup && aligned && p.dim == 64) {
      mma.template operator()<64>();
    } else {
      const dim3 grid(GridFor(p.most_pieces, kWarps), static_cast<unsigned>(lanes));
      DispatchFloat(args.summary_dtype,
                    [&]<typename T>() { Launch(&PlainLogits<T>, grid, dim3(kLogitThreads), 0, queue, p); });
    }
  }
  if (args.rule.every_block) {
    Launch(&SelectEvery, dim3(GridFor(args.max_blocks, kSelectThreads), static_cast<unsigned>(lanes)),
           dim3(kSelectThreads), 0, queue, p);
    return;
  }
  const size_t words = static_cast<size_t>(args.max_blocks + 31) / 32;
  const int per_block = args.block_size / args.kernel_stride;
  const auto select = [&]<int kPerThread, bool kOwnKeys>() {
    if (!kOwnKeys && (by_query || by_importance)) {
      const dim3 grid(GridFor(args.max_blocks, kSelectThreads), static_cast<unsigned>(lanes));
      const size_t memory = static_cast<size_t>(KeyNumbers(kSelectThreads, per_block)) * sizeof(float);
      AllowShared(reinterpret_cast<const void*>(&BlockKeys), memory);
      Launch(&BlockKeys, grid, dim3(kSelectThreads), memory, queue, p);
    }
    const size_t keys = kOwnKeys ? static_cast<size_t>(KeyNumbers(args.max_blocks, per_block)) : 0;
    const size_t memory = sizeof(SelectShared) + (4 * words + 1 + keys) * sizeof(uint32_t);
    AllowShared(reinterpret_cast<const void*>(&SelectBlocks<kPerThread, kOwnKeys>), memory);
    Launch(&SelectBlocks<kPerThread, kOwnKeys>, dim3(static_cast<unsigned>(lanes)), dim3(kSelectThreads), memory, queue,
           p);
  };
  // Few blocks are scored where they are selected; many are worth a kernel of their own, with several CTAs a lane.
  constexpr int kMostPerThread = 64;
  NOSA_CHECK(args.max_blocks <= kMostPerThread * kSelectThreads, "select_blocks: {} blocks, {} can be chosen from",
             args.max_blocks, kMostPerThread * kSelectThreads);
  if (args.max_blocks <= kSelectThreads) {
    select.operator()<1, true>();
  } else if (args.max_blocks <= 2 * kSelectThreads) {
    select.operator()<2, true>();
  } else if (args.max_blocks <= 4 * kSelectThreads) {
    select.operator()<4, true>();
  } else if (args.max_blocks <= 16 * kSelectThreads) {
    select.operator()<16, false>();
  } else {
    select.operator()<kMostPerThread, false>();
  }
}

}  // namespace nosa::cuda
