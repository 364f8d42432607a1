// Block attention of bf16 caches on the tensor cores of compute capability 9.0, by warpgroups. A slice is 128 (row,
// head) pairs, a row's heads side by side, of which a warpgroup has 64. One more warpgroup walks the tiles and brings
// those that some row of the slice reads into a ring in shared memory; the other two take them in order, each at its
// own pace, so that one's softmax runs beside the other's products. A warpgroup passes over tiles none of its rows
// reads.
//
// A part is computed as a block by itself and merged then, as the contract asks: a pair's bits depend on its query and
// its blocks alone.
#include <algorithm>

#include "backend/cuda/attend_pairs.cuh"
#include "backend/cuda/tile_walk.cuh"
#include "backend/cuda/wgmma.cuh"

namespace nosa::cuda {
namespace {

constexpr int kGroupThreads = 128;  // of a warpgroup
constexpr int kConsumers = 2;       // warpgroups that compute
constexpr int kThreads = (1 + kConsumers) * kGroupThreads;
constexpr int kPairsOfGroup = 64, kPairs = kConsumers * kPairsOfGroup;
constexpr int kStages = 6;  // tiles of the ring: some 200 KB with 128 channels
// Slabs of 64 channels of the queries that consumers keep in shared memory instead of registers. Of 128 channels half:
// their registers hold no more, and the shared memory of all would be a stage's.
template <int D>
constexpr int kSharedSlabs = D / 64 - 1;

// What consumers have to know of a tile of the ring.
struct TileInfo {
  int32_t tokens;  // kEndOfSlice: no tile, the slice is done
  int32_t first_pos, kv_head;
  uint32_t readers;        // bit i: warpgroup i has a row that reads it
  int32_t states[kPairs];  // of the slice's rows; -1: does not read it
};

template <int D>
struct Shared {
  static constexpr uint32_t kTileBytes = kTokens * D * 2;

  alignas(1024) char k[kStages][kTileBytes];
  alignas(1024) char v[kStages][kTileBytes];
  alignas(1024) char q[kConsumers][std::max(1, kSharedSlabs<D>)][kPairsOfGroup * 128];
  alignas(16) float bias[kStages][kTokens];
  TileInfo info[kStages];
  uint64_t full[kStages], empty[kStages];
  int32_t lowest, highest;  // rows of the group
};

#ifdef NOSA_WGMMA

// A multiprocessor's 65,536 registers: consumers hold a state, a part and queries of their pairs.
constexpr int kProducerRegisters = 56, kConsumerRegisters = 224;
constexpr int kLag = 2;                        // copies under way before the producer looks whether the oldest is there
constexpr int kRowWords = kPairs / kWarpSize;  // rows of a slice, at most one a pair, in words of a warp's lanes
constexpr int32_t kEndOfSlice = -1;
constexpr uint32_t kSlabBytes = kTokens * 128;
template <int D>
constexpr int kRegisterSteps = (D / 64 - kSharedSlabs<D>)*4;  // of the queries' depth

__device__ __forceinline__ int SliceRows(const AttentionPlan& plan) { return kPairs / plan.states.heads; }

// A place in the ring, and how often it has been passed.
struct RingPlace {
  int stage = 0;
  uint32_t parity = 0;
  __device__ __forceinline__ void Next() {
    if (++stage == kStages) {
      stage = 0;
      parity ^= 1;
    }
  }
};

// Starts copying the first `tokens` rows of a [block, D] matrix to its slabs; zeros after them, so that nothing there
// can be NaN.
template <int D>
__device__ __forceinline__ void CopySlabs(uint32_t to, const void* from, int tokens) {
  constexpr int kPieces = D / 8, kRowsAtOnce = kGroupThreads / kPieces;
  static_assert(kRowsAtOnce % 8 == 0);  // so that a thread's pieces differ in their rows alone
  const int thread = static_cast<int>(threadIdx.x) % kGroupThreads, row = thread / kPieces, piece = thread % kPieces;
  to += static_cast<uint32_t>(piece / 8 * static_cast<int>(kSlabBytes) + row * 128 + ((piece % 8) ^ (row % 8)) * 16);
  const char* bytes = static_cast<const char*>(from) + thread * 16;
  if (tokens == kTokens) {
#pragma unroll
    for (int j = 0; j < kTokens / kRowsAtOnce; ++j) {
      CopyAsync16(to + static_cast<uint32_t>(j * kRowsAtOnce * 128), bytes + j * kGroupThreads * 16, true);
    }
    return;
  }
#pragma unroll 1
  for (int j = 0; j < kTokens / kRowsAtOnce; ++j) {
    const bool valid = row + j * kRowsAtOnce < tokens;
    CopyAsync16(to + static_cast<uint32_t>(j * kRowsAtOnce * 128),
                valid ? bytes + j * kGroupThreads * 16 : static_cast<const char*>(from), valid);
  }
}

// The warpgroup that fills the ring. Each of its warps walks the tiles by itself, a lane a tile, 32 at a time.
template <int D>
struct Producer {
  const AttentionPlan& plan;
  Shared<D>& shared;
  RingPlace next = {0, 1}, unpublished = {};  // a ring that was never filled is empty
  int under_way = 0;                          // filled, not published
  int32_t positions[kRowWords];               // of row 32 i + lane of the slice
  uint32_t reads[kRowWords];                  // tiles that row reads

  __device__ __forceinline__ static int Lane() { return static_cast<int>(threadIdx.x) % kWarpSize; }

  __device__ __forceinline__ void Publish() {
    PublishToTensorCores();
    Arrive(&shared.full[unpublished.stage]);
    unpublished.Next();
    --under_way;
  }
  // The place at hand is filled.
  __device__ __forceinline__ void Advance() {
    CommitCopies();
    next.Next();
    if (++under_way > kLag) {
      WaitForCopies<kLag>();
      Publish();
    }
  }
  __device__ __forceinline__ void Finish() {
    WaitForCopies<0>();
    while (under_way > 0) Publish();
  }

  // Who of the slice's rows reads this lane's tile, `sees(row)` aside from where the row is.
  template <typename Sees>
  __device__ __forceinline__ void FindReaders(const ops::AttentionTile& tile, int row0, int rows, Sees&& sees) {
#pragma unroll
    for (int w = 0; w < kRowWords; ++w) {
      reads[w] = 0;
      const int here = min(kWarpSize, rows - w * kWarpSize);
#pragma unroll 8
      for (int r = 0; r < here; ++r) {
        const int position = __shfl_sync(kAllLanes, positions[w], r);
        const bool there = tile.tokens > 0 && position >= tile.first_pos;
        const uint32_t word = __ballot_sync(kAllLanes, sees(row0 + w * kWarpSize + r) && there);
        if (Lane() == r) reads[w] = word;
      }
    }
  }
  __device__ __forceinline__ void FindMasked(const ops::AttentionTile& tile, int row0, int rows) {
    const int block = tile.first_pos / plan.block_size;
    const uint64_t* word = plan.masks + static_cast<int64_t>(tile.kv_head) * plan.mask_words + block / 64;
    const int64_t step = static_cast<int64_t>(plan.kv_heads) * plan.mask_words;
    FindReaders(tile, row0, rows, [&](int row) {  // loads without a condition, so that they are under way together
      const uint64_t mask = __ldg(word + min(row, plan.rows - 1) * step);
      return (mask >> (block % 64) & 1) != 0 &&
             static_cast<unsigned>(row - tile.ref_begin) < static_cast<unsigned>(tile.ref_count);
    });
  }
  __device__ __forceinline__ void FindListed(const ops::AttentionTile& tile, int row0, int rows) {
    const auto* ref = plan.refs + tile.ref_begin;
    const auto* last = ref + tile.ref_count;
    if (ref != last) ref += FirstRef(ref, tile.ref_count, row0);
    __syncwarp();
    FindReaders(tile, row0, rows, [&](int row) {
      const bool listed = ref != last && ref->row == row;
      ref += listed ? 1 : 0;
      return listed;
    });
  }

  __device__ void Slice(int first, int last, int row0) {
    const int lane = Lane(), heads = plan.states.heads, rows = SliceRows(plan);
#pragma unroll
    for (int w = 0; w < kRowWords; ++w) {
      const int slot = w * kWarpSize + lane;
      positions[w] = slot < rows && row0 + slot < plan.rows ? plan.positions[row0 + slot] : -1;
    }
    for (int at = first; at < last; at += kWarpSize) {
      ops::AttentionTile tile = {};  // no tokens
      if (at + lane < last) tile = plan.tiles[at + lane];
      if (plan.masks != nullptr) {
        FindMasked(tile, row0, rows);
      } else {
        FindListed(tile, row0, rows);
      }
      uint32_t of_group[kConsumers] = {};
#pragma unroll
      for (int w = 0; w < kRowWords; ++w) {  // a row's heads may be pairs of both
        const int slot = w * kWarpSize + lane;
        if (slot * heads < kPairsOfGroup) of_group[0] |= reads[w];
        if ((slot + 1) * heads > kPairsOfGroup) of_group[1] |= reads[w];
      }
#pragma unroll
      for (int i = 0; i < kConsumers; ++i) of_group[i] = __reduce_or_sync(kAllLanes, of_group[i]);
      for (uint32_t left = of_group[0] | of_group[1]; left != 0; left &= left - 1) {
        const int t = __ffs(static_cast<int>(left)) - 1;
        const uint32_t readers = (of_group[0] >> t & 1u) | (of_group[1] >> t & 1u) << 1;
        Fill(tile, t, readers, row0, rows);
      }
    }
    WaitFor(&shared.empty[next.stage], next.parity);
    if (threadIdx.x == 0) shared.info[next.stage].tokens = kEndOfSlice;
    Advance();
  }

  template <typename T>
  __device__ __forceinline__ static const T* OfLane(const T* pointer, int lane) {
    return reinterpret_cast<const T*>(__shfl_sync(kAllLanes, reinterpret_cast<unsigned long long>(pointer), lane));
  }

  // The next place with lane t's tile.
  __device__ __forceinline__ void Fill(const ops::AttentionTile& tile, int t, uint32_t readers, int row0, int rows) {
    const int lane = Lane(), thread = static_cast<int>(threadIdx.x), stage = next.stage;
    const void* k = OfLane(static_cast<const char*>(tile.k), t);
    const void* v = OfLane(static_cast<const char*>(tile.v), t);
    const float* s = OfLane(tile.s, t);
    const int tokens = __shfl_sync(kAllLanes, tile.tokens, t);
    const int kv_head = __shfl_sync(kAllLanes, tile.kv_head, t);
    const int first_pos = __shfl_sync(kAllLanes, tile.first_pos, t);
    const int begin = __shfl_sync(kAllLanes, tile.ref_begin, t), count = __shfl_sync(kAllLanes, tile.ref_count, t);
    WaitFor(&shared.empty[stage], next.parity);
    CopySlabs<D>(SharedAddress(shared.k[stage]), k, tokens);
    CopySlabs<D>(SharedAddress(shared.v[stage]), v, tokens);
    if (thread < kTokens) {
      const bool valid = s != nullptr && thread < tokens;
      CopyAsync4(SharedAddress(&shared.bias[stage][thread]), valid ? static_cast<const void*>(s + thread) : k, valid);
    }
    TileInfo& info = shared.info[stage];
    if (thread == kGroupThreads - 1) {
      info.tokens = tokens;
      info.first_pos = first_pos;
      info.kv_head = kv_head;
      info.readers = readers;
    }
    // Each warp its share of the rows.
    const int warp = thread / kWarpSize;
#pragma unroll
    for (int w = 0; w < kRowWords; ++w) {
      const int slot = w * kWarpSize + lane, row = row0 + slot;
      if (w != warp || slot >= rows) continue;
      int state = -1;
      if ((reads[w] >> t & 1u) != 0) {
        state = plan.masks != nullptr ? plan.StateOf(kv_head, row)
                                      : plan.refs[begin + FirstRef(plan.refs + begin, count, row)].state;
      }
      info.states[slot] = state;
    }
    Advance();
  }
};

// acc = merge of acc and the part, of pair r. `keeps`: f.first is 1 in all of the warp. Most blocks do not have a
// pair's greatest logit: then acc keeps its scale, and the product with 1 is left out.
template <int D>
__device__ __forceinline__ void MergePart(float (&acc)[D / 8][4], const float (&part)[D / 8][4], int r,
                                          const MergeFactors& f, bool keeps) {
  if (keeps) {
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      acc[n][2 * r] = __fmaf_rn(part[n][2 * r], f.second, acc[n][2 * r]);
      acc[n][2 * r + 1] = __fmaf_rn(part[n][2 * r + 1], f.second, acc[n][2 * r + 1]);
    }
  } else {
#pragma unroll
    for (int n = 0; n < D / 8; ++n) {
      acc[n][2 * r] = MergeValues(acc[n][2 * r], f.first, part[n][2 * r], f.second);
      acc[n][2 * r + 1] = MergeValues(acc[n][2 * r + 1], f.first, part[n][2 * r + 1], f.second);
    }
  }
}

// A warpgroup that takes the tiles of the ring: pairs [64 group, 64 group + 64) of slice after slice. The product of
// the next tile's keys runs beside the merge of this tile's part.
template <int D>
struct Consumer {
  static constexpr int kEnd = -1, kFurtherOn = -2;  // instead of a stage
  // Tiles a consumer may wait for while it holds one: the producer fills kLag more before it publishes one.
  static constexpr int kAhead = kStages - 1 - kLag;

  const AttentionPlan& plan;
  Shared<D>& shared;
  const int group;  // which of the consumers
  const uint32_t keys = OperandOf(SharedAddress(shared.k[0]), kSlabBytes);
  const uint32_t queries = OperandOf(SharedAddress(shared.q[group]), kSlabBytes);
  const uint32_t values = OperandOf(SharedAddress(shared.v[0]), kSlabBytes);
  RingPlace place = {};
  int row0 = 0, q_head = -1;
  int position[2] = {};  // of the rows of this lane's pairs
  Carried<D / 8> carried = {};
  uint32_t q[std::max(1, kRegisterSteps<D>)][4] = {};
  float s[kTokens / 8][4] = {};

  // Every lane arrives: racecheck does not follow one that arrives for its warp, and it costs next to nothing.
  __device__ __forceinline__ void Release(int stage) { Arrive(&shared.empty[stage]); }

  // The stage of the next tile that one of the rows reads, or kEnd, looked for among the next `most` of the ring, or
  // kFurtherOn. The lanes of the warp come back together, as products need them.
  __device__ __forceinline__ int NextTile(int most) {
    int found = kFurtherOn;
    for (; found == kFurtherOn && most > 0; --most) {
      const int stage = place.stage;
      WaitFor(&shared.full[stage], place.parity);
      place.Next();
      const bool end = shared.info[stage].tokens == kEndOfSlice;
      if (!end && (shared.info[stage].readers >> group & 1u) != 0) {
        found = stage;
      } else {
        if (end) found = kEnd;
        Release(stage);
      }
    }
    return __shfl_sync(kAllLanes, found, 0);
  }

  // Operand A, rounded to bf16, which turns a logit by at most 2^-9 of sum |q k| scale.
  __device__ __forceinline__ void LoadQueries(int kv_head) {
    q_head = kv_head;
    const int heads = plan.states.heads, lane = static_cast<int>(threadIdx.x) % kWarpSize;
    SyncWarpgroup(1 + group);  // no warp's products still read the last ones
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = row0 + carried.slot[r],
                pair = static_cast<int>(threadIdx.x) % kGroupThreads / kWarpSize * 16 + lane / 4 + 8 * r;
      const bool valid = carried.slot[r] >= 0 && row < plan.rows;
      const float* from = plan.q + (valid ? row : 0) * plan.q_stride +
                          (static_cast<int64_t>(kv_head) * heads + carried.head[r]) * D + lane % 4 * 2;
#pragma unroll
      for (int piece = 0; piece < D / 8; ++piece) {
        const float* at = from + piece * 8;
        const uint32_t packed = valid ? PackBf16(at[0], at[1]) : 0;
        if (piece / 2 < kRegisterSteps<D>) {
          q[piece / 2 < kRegisterSteps<D> ? piece / 2 : 0][piece % 2 * 2 + r] = packed;
        } else {
          const int slab = piece / 8 - kRegisterSteps<D> / 4;
          *reinterpret_cast<uint32_t*>(shared.q[group][slab] + pair * 128 + ((piece % 8) ^ (pair % 8)) * 16 +
                                       lane % 4 * 4) = packed;
        }
      }
    }
    if (kSharedSlabs < D >> 0) PublishToTensorCores();
    SyncWarpgroup(1 + group);
  }

  // Starts s = the queries times the tile's keys.
  __device__ __forceinline__ void StartKeys(int stage) {
    const uint32_t tile = Further(keys, static_cast<uint32_t>(stage) * Shared<D>::kTileBytes);
    BeginProducts();
#pragma unroll
    for (int step = 0; step < D / kChunk; ++step) {
      const uint32_t slab = static_cast<uint32_t>(step / 4) * kSlabBytes;
      const uint32_t at = slab + static_cast<uint32_t>(step % 4) * 32;
      if (step < kRegisterSteps<D>) {
        Multiply<false>(s, q[step < kRegisterSteps<D> ? step : 0], Further(tile, at), step > 0);
      } else {
        Multiply(s, Further(queries, at - kRegisterSteps<D> / 4 * kSlabBytes), Further(tile, at), step > 0);
      }
    }
    CommitProducts();
  }

  // Starts part = the weights times the tile's values.
  __device__ __forceinline__ void StartValues(int stage, const uint32_t (&weights)[kTokens / kChunk][4],
                                              float (&part)[D / 8][4]) {
    const uint32_t tile = Further(values, static_cast<uint32_t>(stage) * Shared<D>::kTileBytes);
    BeginProducts();
#pragma unroll
    for (int c = 0; c < kTokens / kChunk; ++c) {
      Multiply<true>(part, weights[c], Further(tile, static_cast<uint32_t>(c) * kChunk * 128), c > 0);
    }
    CommitProducts();
  }

  // The tile whose products with the keys are under way. `stage_of_tile` becomes the next one's; true when its products
  // with the keys are under way then. Else, when it is of another KV head or not near, some are that nobody looks at:
  // ptxas has products that are started in a branch wait for each other.
  __device__ __forceinline__ bool Attend(int& stage_of_tile) {
    const int stage = stage_of_tile;
    const TileInfo& info = shared.info[stage];
    int next[2], visible[2];
    bool active[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      next[r] = carried.slot[r] < 0 ? -1 : info.states[carried.slot[r]];
      active[r] = next[r] >= 0;
      visible[r] = active[r] ? min(info.tokens, position[r] - info.first_pos + 1) : kTokens;
    }
    WaitForProducts<0>();
    HoldFragments(s);
    uint32_t weights[kTokens / kChunk][4] = {};
    float m[2] = {}, l[2] = {};
    if (__any_sync(kAllLanes, active[0] || active[1])) {
      if (__all_sync(kAllLanes, visible[0] >= kTokens && visible[1] >= kTokens)) {
        Softmax<false>(s, shared.bias[stage], plan.scale, visible, m, l);
      } else {
        Softmax<true>(s, shared.bias[stage], plan.scale, visible, m, l);
      }
      ToOperand(s, weights);
    }
#pragma unroll
    for (int r = 0; r < 2; ++r) carried.Switch(plan.states, r, next[r], 0);
    const int after = NextTile(kAhead);
    const bool goes_on = __any_sync(kAllLanes, after >= 0 && shared.info[after].kv_head == q_head);
    float part[D / 8][4];
    StartValues(stage, weights, part);
    StartKeys(goes_on ? after : stage);
    MergeFactors factors[2];
    bool keeps[2];
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      factors[r] = carried.MergeScalarsIf(active[r], r, m[r], l[r]);
      keeps[r] = __all_sync(kAllLanes, !active[r] || factors[r].first == 1.0f);
    }
    WaitForProducts<1>();
    HoldFragments(part);
    Release(stage);
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      if (active[r]) MergePart<D>(carried.acc, part, r, factors[r], keeps[r]);
    }
    stage_of_tile = after;
    return goes_on;
  }

  __device__ __forceinline__ void Slice(int first_row) {
    const int warp = static_cast<int>(threadIdx.x) % kGroupThreads / kWarpSize;
    row0 = first_row;
    q_head = -1;
    carried.Enter(group * kPairsOfGroup + warp * 16, plan.states.heads, SliceRows(plan));
#pragma unroll
    for (int r = 0; r < 2; ++r) {
      const int row = row0 + carried.slot[r];
      position[r] = carried.slot[r] >= 0 && row < plan.rows ? plan.positions[row] : -1;
    }
    for (int stage = kFurtherOn;;) {  // run after run of tiles
      if (stage == kFurtherOn) stage = NextTile(INT32_MAX);
      if (stage == kEnd) break;
      if (shared.info[stage].kv_head != q_head) LoadQueries(shared.info[stage].kv_head);
      StartKeys(stage);
      while (Attend(stage)) {
      }
      WaitForProducts<0>();
      HoldFragments(s);
    }
    carried.Store(plan.states, 0, 0);
    carried.Store(plan.states, 1, 0);
  }
};

// Least and greatest row of the group's tiles; highest < 0 when they have none. All threads call it.
template <int D>
__device__ __forceinline__ void FindRows(const AttentionPlan& plan, Shared<D>& shared, int first, int last) {
  int least = INT32_MAX, most = -1;
  for (int t = first + static_cast<int>(threadIdx.x); t < last; t += kThreads) {
    const int32_t begin = plan.tiles[t].ref_begin, count = plan.tiles[t].ref_count;
    if (count == 0) continue;
    least = min(least, plan.masks != nullptr ? begin : plan.refs[begin].row);
    most = max(most, plan.masks != nullptr ? begin + count - 1 : plan.refs[begin + count - 1].row);
  }
  least = __reduce_min_sync(kAllLanes, least);
  most = __reduce_max_sync(kAllLanes, most);
  if (threadIdx.x % kWarpSize == 0) {
    atomicMin(&shared.lowest, least);
    atomicMax(&shared.highest, most);
  }
  __syncthreads();
}

#endif  // NOSA_WGMMA

// Blocks (group, slice): slice i has the group's i-th rows of kPairs pairs, then those gridDim.y further. Other targets
// have a kernel of one thread in its place, by which the host knows.
#if defined(NOSA_WGMMA) || !defined(__CUDA_ARCH__)
#define NOSA_BOUNDS __launch_bounds__(kThreads, 1)
#else
#define NOSA_BOUNDS __launch_bounds__(1, 1)
#endif
template <int D>
__global__ void NOSA_BOUNDS AttendTiles(const __grid_constant__ AttentionPlan plan) {
#ifdef NOSA_WGMMA
  extern __shared__ __align__(1024) char memory[];
  Shared<D>& shared = *reinterpret_cast<Shared<D>*>(memory);
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      InitBarrier(&shared.full[i], kGroupThreads);
      InitBarrier(&shared.empty[i], kConsumers * kGroupThreads);
    }
    shared.lowest = INT32_MAX;
    shared.highest = -1;
  }
  __syncthreads();
  const int first = plan.groups[blockIdx.x], last = plan.groups[blockIdx.x + 1];
  FindRows(plan, shared, first, last);
  const int highest = shared.highest, rows = SliceRows(plan), step = static_cast<int>(gridDim.y) * rows;
  int row0 = shared.lowest + static_cast<int>(blockIdx.y) * rows;
  if (threadIdx.x < kGroupThreads) {
    GiveRegisters<kProducerRegisters>();
    Producer<D> producer = {.plan = plan, .shared = shared};
    for (; row0 <= highest; row0 += step) producer.Slice(first, last, row0);
    producer.Finish();
  } else {
    TakeRegisters<kConsumerRegisters>();
    Consumer<D> consumer = {.plan = plan, .shared = shared, .group = static_cast<int>(threadIdx.x) / kGroupThreads - 1};
    for (; row0 <= highest; row0 += step) consumer.Slice(row0);
  }
#endif
}

template <int D>
bool LaunchFor(Context& context, ops::Stream stream, const AttentionPlan& plan) {
  cudaFuncAttributes built;
  NOSA_CUDA_CHECK(cudaFuncGetAttributes(&built, AttendTiles<D>));
  if (built.maxThreadsPerBlock < kThreads) return false;
  AllowShared(reinterpret_cast<const void*>(AttendTiles<D>), sizeof(Shared<D>));
  AttendTiles<D><<<AttentionGrid(context, plan, kPairs), kThreads, sizeof(Shared<D>), context.stream(stream)>>>(plan);
  NOSA_CUDA_LAUNCHED();
  return true;
}

}  // namespace

bool BlockAttentionOnWarpgroups(Context& context, ops::Stream stream, const AttentionPlan& plan, DType dtype) {
  if (!TensorCoresTake(plan, dtype)) return false;
  if (plan.k_dim == 64) return LaunchFor<64>(context, stream, plan);
  if (plan.k_dim == 128) return LaunchFor<128>(context, stream, plan);
  return false;
}

}  // namespace nosa::cuda
