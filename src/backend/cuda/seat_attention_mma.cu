// seat_attention on tensor cores: bf16 caches, head sizes of 64 and 128 for keys and values, groups of up to 16.
#include <algorithm>

#include "backend/cuda/barrier.cuh"
#include "backend/cuda/mma.cuh"
#include "backend/cuda/seat_work.cuh"

namespace nosa::cuda {
namespace {

// One CTA on a multiprocessor, which goes from split to split without its copies ever running dry: every warp has one
// job, and hands on what it did through barriers.
//   plan      takes splits and finds out what is to be known of them, some ahead
//   load      one warp per block of a split: waits for the block where it is on its way, and copies it, 16 tokens at a
//             time, to a ring of its own
//   query     turns a split's query into operands
//   compute   one warp per block: its state over the ring; then the four states are merged, in the order of the blocks
//   publish   makes the states of splits known to the other multiprocessors, which takes long while loads are on their
//             way
//   fetch     copies blocks from host memory, for all multiprocessors
// At the end all of them merge.
constexpr int kWarps = ops::kSplitBlocks, kLoad = kWarps, kPlan = 2 * kWarps, kQuery = kPlan + 1, kPublish = kPlan + 2,
              kFetch = kPlan + 3, kThreads = (kFetch + 1) * kWarpSize;
constexpr int kChunk = 16, kHeads = 16, kQueue = 3, kQueries = 2, kWritten = 8;
constexpr int kMostStages = 5;  // of the ring: beyond three it hardly matters, but they fit
// On their way where threads fetch, and hold up those that compute: no more than fill the wire. (With half of it blocks
// arrive at two thirds of the rate.)
constexpr int kFetchBytes = 512 << 10;

template <int Dim>
struct Stage {
  uint16_t k[kChunk * Dim], v[kChunk * Dim];
  float bias[kChunk];
  float rest[32 - kChunk];  // stages begin where banks do
};

// What is known of a split before it is computed.
struct Planned {
  SeatItem item;
  const std::byte* blocks[kWarps];
  int tokens[kWarps];   // visible ones; 0 behind the last block
  int arrival[kWarps];  // as SeatAttentionArgs::arrivals
};

template <int Dim>
struct Shared {
  static constexpr int kSteps = Dim / 16;  // products of 16 channels
  static constexpr int kRow = Dim + 8;     // floats: rows of eight heads begin in different banks

  uint4 query[kQueries][2][kSteps][kWarpSize];  // first operands, [16 heads, 16 channels] a step; two bf16 terms
  float acc[kWarps][kHeads][kRow];
  float m[kWarps][kHeads], l[kWarps][kHeads];
  Planned planned[kQueue];
  SeatItem computed[kWritten];  // for `publish`; lane -1: the end
  Barrier planned_full[kQueue], planned_empty[kQueue], query_full[kQueries], query_empty[kQueries];
  Barrier written[kWritten], published[kWritten];
  Barrier full[kWarps][kMostStages], empty[kWarps][kMostStages];
  Barrier landed;
  alignas(128) int4 piece[kFetchWords * kWarpSize];  // of a block that is carried to device memory
  // The rings follow: [warps][stages].
};

// A place in a sequence of things that are used in turn.
struct Turn {
  int index = 0, phase = 0;
  __device__ void Next(int count) {
    if (++index == count) index = 0, phase ^= 1;
  }
};

// Rows of Dim numbers in 16-byte units, places swapped so that eight rows' same unit lie in different banks.
template <int Dim>
__device__ __forceinline__ int Place(int row, int unit) {
  return row * Dim + ((unit ^ (row & 7)) * 8);
}

template <int Dim>
__device__ __forceinline__ void CopyRows(uint16_t* to, const uint16_t* from, int valid, int self) {
  constexpr int kUnits = Dim / 8;
#pragma unroll
  for (int i = 0; i < kChunk * kUnits / kWarpSize; ++i) {
    const int at = i * kWarpSize + self, row = at / kUnits, unit = at % kUnits;
    CopyAsync16(SharedAddress(to + Place<Dim>(row, unit)), from + at * 8, row < valid);
  }
}

template <int Dim>
__device__ void Plan(const SeatParams& p, Shared<Dim>& shared) {
  const int self = static_cast<int>(threadIdx.x) % kWarpSize;
  SeatWork work(p);
  for (Turn turn;; turn.Next(kQueue)) {
    WaitFor(&shared.planned_empty[turn.index], turn.phase ^ 1);
    Planned& planned = shared.planned[turn.index];
    SeatWork::Block own = {};
    const SeatItem item = work.Next(&own);
    if (self < kWarps) {
      planned.blocks[self] = own.data;
      planned.tokens[self] =
          self < item.blocks ? min(p.frame.block_size, item.pos + 1 - own.id * p.frame.block_size) : 0;
      planned.arrival[self] = self < item.blocks ? own.arrival : 0;
    }
    if (self == 0) planned.item = item;
    Arrive(&shared.planned_full[turn.index]);
    if (item.lane < 0) return;
  }
}

template <int Dim>
__device__ void Load(const SeatParams& p, Shared<Dim>& shared, Stage<Dim>* ring, int stages, int warp) {
  const int self = static_cast<int>(threadIdx.x) % kWarpSize;
  Turn turn, stage;
  for (;; turn.Next(kQueue)) {
    WaitFor(&shared.planned_full[turn.index], turn.phase);
    const Planned& planned = shared.planned[turn.index];
    const SeatItem item = planned.item;
    if (item.lane < 0) return;
    const std::byte* block = planned.blocks[warp];
    const int tokens = planned.tokens[warp], arrival = planned.arrival[warp];
    Arrive(&shared.planned_empty[turn.index]);

    const auto copy = [&](int first) {
      WaitFor(&shared.empty[warp][stage.index], stage.phase ^ 1);
      Stage<Dim>& to = ring[stage.index];
      const uint16_t* k = reinterpret_cast<const uint16_t*>(block) + first * Dim;
      const uint16_t* v = reinterpret_cast<const uint16_t*>(block + p.frame.v_offset) + first * Dim;
      CopyRows<Dim>(to.k, k, tokens - first, self);
      CopyRows<Dim>(to.v, v, tokens - first, self);
      if (p.bias && self < kChunk) {
        const float* s = reinterpret_cast<const float*>(block + p.frame.s_offset);
        CopyAsync4(SharedAddress(to.bias + self), s + first + self, first + self < tokens);
      }
      ArriveWithCopies(&shared.full[warp][stage.index]);
      stage.Next(stages);
    };
    WaitForBlock(p, arrival);
    for (int first = 0; first < tokens; first += kChunk) copy(first);
  }
}

// Makes the query of a split the first operand of products: 16 heads, 16 channels a step.
template <int Dim>
__device__ void Query(const SeatParams& p, Shared<Dim>& shared) {
  constexpr int kSteps = Shared<Dim>::kSteps;
  const int self = static_cast<int>(threadIdx.x) % kWarpSize, group = self / 4, quad = self % 4;
  Turn turn, query;
  for (;; turn.Next(kQueue), query.Next(kQueries)) {
    WaitFor(&shared.planned_full[turn.index], turn.phase);
    const int lane = shared.planned[turn.index].item.lane;
    Arrive(&shared.planned_empty[turn.index]);
    if (lane < 0) return;
    const float* q = p.q + lane / p.kv_heads * p.q_stride + static_cast<int64_t>(lane % p.kv_heads) * p.group * Dim;
    float2 x[kSteps][4];
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
#pragma unroll
      for (int i = 0; i < 4; ++i) {
        const int h = group + (i % 2) * 8, d = step * 16 + (i / 2) * 8 + quad * 2;
        x[step][i] = make_float2(0, 0);
        if (h < p.group) x[step][i] = *reinterpret_cast<const float2*>(q + static_cast<int64_t>(h) * Dim + d);
      }
    }
    WaitFor(&shared.query_empty[query.index], query.phase ^ 1);
#pragma unroll
    for (int step = 0; step < kSteps; ++step) {
      uint32_t terms[4][2];
#pragma unroll
      for (int i = 0; i < 4; ++i) SplitBf16(x[step][i].x, x[step][i].y, terms[i]);
      shared.query[query.index][0][step][self] = make_uint4(terms[0][0], terms[1][0], terms[2][0], terms[3][0]);
      shared.query[query.index][1][step][self] = make_uint4(terms[0][1], terms[1][1], terms[2][1], terms[3][1]);
    }
    Arrive(&shared.query_full[query.index]);
  }
}

// The state of one block: of heads `group` and group + 8.
template <int Dim>
struct BlockState {
  float m[2] = {-INFINITY, -INFINITY}, l[2] = {0, 0};
  float out[Dim / 8][4] = {};
};

// Adds a chunk of which `tokens` are visible. The query's terms are summed apart: chains half as long.
template <int Dim>
__device__ __forceinline__ void AddChunk(const SeatParams& p, const Stage<Dim>& stage, int tokens,
                                         const uint4 (&query)[Dim / 16], const uint4 (*second_terms)[kWarpSize],
                                         BlockState<Dim>& state) {
  const int self = static_cast<int>(threadIdx.x) % kWarpSize, quad = self % 4, matrix = self / 8;
  float d[2][4] = {}, rest[2][4] = {};
#pragma unroll
  for (int step = 0; step < Dim / 16; ++step) {
    // K as columns: matrices (tokens 0-7, channels 0-7), (0-7, 8-15), (8-15, 0-7), (8-15, 8-15).
    uint32_t k[4];
    LoadMatrices(k, SharedAddress(stage.k + Place<Dim>((matrix / 2) * 8 + self % 8, step * 2 + matrix % 2)));
    const uint4 first = query[step], second = second_terms[step][self];
    const uint32_t a[4] = {first.x, first.y, first.z, first.w}, b[4] = {second.x, second.y, second.z, second.w};
    MultiplyAdd(d[0], a, k[0], k[1]);
    MultiplyAdd(d[1], a, k[2], k[3]);
    MultiplyAdd(rest[0], b, k[0], k[1]);
    MultiplyAdd(rest[1], b, k[2], k[3]);
  }
  float now[2] = {state.m[0], state.m[1]};
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int token = n * 8 + quad * 2 + i % 2;
      const float bias = p.bias ? stage.bias[token] : 0.0f;
      d[n][i] = token < tokens ? (d[n][i] + rest[n][i]) * p.scale + bias : -INFINITY;
      now[i / 2] = fmaxf(now[i / 2], d[n][i]);
    }
  }
  float before[2], sum[2] = {0, 0};
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    now[r] = MaxOfQuad(now[r]);
    before[r] = __expf(state.m[r] - now[r]);
    state.m[r] = now[r];
  }
#pragma unroll
  for (int n = 0; n < 2; ++n) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i / 2] += d[n][i] = __expf(d[n][i] - now[i / 2]);
  }
#pragma unroll
  for (int r = 0; r < 2; ++r) state.l[r] = state.l[r] * before[r] + sum[r];
  if (__any_sync(kAllLanes, before[0] != 1.0f || before[1] != 1.0f)) {
#pragma unroll
    for (int n = 0; n < Dim / 8; ++n) {
      state.out[n][0] *= before[0];
      state.out[n][1] *= before[0];
      state.out[n][2] *= before[1];
      state.out[n][3] *= before[1];
    }
  }
  // The weights as rows: [16 heads, 16 tokens].
  const uint32_t w[4] = {PackBf16(d[0][0], d[0][1]), PackBf16(d[0][2], d[0][3]), PackBf16(d[1][0], d[1][1]),
                         PackBf16(d[1][2], d[1][3])};
#pragma unroll
  for (int n = 0; n < Dim / 16; ++n) {
    // V, transposed: matrices (tokens 0-7, channels 0-7), (8-15, 0-7), (0-7, 8-15), (8-15, 8-15).
    uint32_t v[4];
    LoadMatricesTransposed(v, SharedAddress(stage.v + Place<Dim>((matrix % 2) * 8 + self % 8, n * 2 + matrix / 2)));
    MultiplyAdd(state.out[2 * n], w, v[0], v[1]);
    MultiplyAdd(state.out[2 * n + 1], w, v[2], v[3]);
  }
}

template <int Dim>
__device__ void StoreBlock(Shared<Dim>& shared, BlockState<Dim>& state, int warp) {
  const int self = static_cast<int>(threadIdx.x) % kWarpSize, group = self / 4, quad = self % 4;
#pragma unroll
  for (int r = 0; r < 2; ++r) {
    const int h = group + r * 8;
    const float l = SumOfQuad(state.l[r]);
    if (quad == 0) {
      shared.m[warp][h] = state.m[r];
      shared.l[warp][h] = l;
    }
#pragma unroll
    for (int n = 0; n < Dim / 8; ++n) {
      *reinterpret_cast<float2*>(&shared.acc[warp][h][n * 8 + quad * 2]) =
          make_float2(state.out[n][2 * r], state.out[n][2 * r + 1]);
    }
  }
}

// The state of a split: those of its blocks, merged in their order; every thread for channels of its own.
template <int Dim>
__device__ void MergeBlocks(const SeatParams& p, const Shared<Dim>& shared, const SeatItem& item) {
  const int64_t first = (static_cast<int64_t>(item.lane) * p.splits + item.split) * p.group;
  for (int i = static_cast<int>(threadIdx.x); i < p.group * Dim / 4; i += kWarps * kWarpSize) {
    const int h = i / (Dim / 4), c = i % (Dim / 4) * 4;
    float max = shared.m[0][h], sum = shared.l[0][h];
    float4 acc = *reinterpret_cast<const float4*>(&shared.acc[0][h][c]);
    for (int w = 1; w < item.blocks; ++w) {
      const float now = fmaxf(max, shared.m[w][h]);
      const float a = __expf(max - now), b = __expf(shared.m[w][h] - now);
      const float4 x = *reinterpret_cast<const float4*>(&shared.acc[w][h][c]);
      sum = sum * a + shared.l[w][h] * b;
      acc = make_float4(acc.x * a + x.x * b, acc.y * a + x.y * b, acc.z * a + x.z * b, acc.w * a + x.w * b);
      max = now;
    }
    *reinterpret_cast<float4*>(p.states.acc + (first + h) * Dim + c) = acc;
    if (c == 0) {
      p.states.m[first + h] = max;
      p.states.l[first + h] = sum;
    }
  }
}

template <int Dim>
__device__ void Compute(const SeatParams& p, Shared<Dim>& shared, const Stage<Dim>* ring, int stages, int warp) {
  constexpr int kSteps = Shared<Dim>::kSteps, kComputeThreads = kWarps * kWarpSize;
  const int thread = static_cast<int>(threadIdx.x), self = thread % kWarpSize;
  Turn turn, stage, query, written;
  const auto hand_on = [&](const SeatItem& item) {
    WaitFor(&shared.published[written.index], written.phase ^ 1);
    if (thread == 0) shared.computed[written.index] = item;
    __syncwarp();
    if (self == 0) Arrive(&shared.written[written.index]);
    written.Next(kWritten);
  };
  const auto meet = [] { asm volatile("bar.sync 1, %0;\n" ::"n"(kComputeThreads) : "memory"); };
  for (;; turn.Next(kQueue)) {
    WaitFor(&shared.planned_full[turn.index], turn.phase);
    const SeatItem item = shared.planned[turn.index].item;
    const int tokens = shared.planned[turn.index].tokens[warp];
    Arrive(&shared.planned_empty[turn.index]);
    if (item.lane < 0) break;
    WaitFor(&shared.query_full[query.index], query.phase);
    // There are registers for one term only.
    uint4 terms[kSteps];
#pragma unroll
    for (int step = 0; step < kSteps; ++step) terms[step] = shared.query[query.index][0][step][self];
    BlockState<Dim> state;
    for (int at = 0; at < tokens; at += kChunk) {
      WaitFor(&shared.full[warp][stage.index], stage.phase);
      AddChunk<Dim>(p, ring[stage.index], tokens - at, terms, shared.query[query.index][1], state);
      __syncwarp();
      if (self == 0) Arrive(&shared.empty[warp][stage.index]);
      stage.Next(stages);
    }
    Arrive(&shared.query_empty[query.index]);
    query.Next(kQueries);
    meet();  // all have read the states of the split before
    if (tokens > 0) StoreBlock<Dim>(shared, state, warp);
    meet();
    MergeBlocks<Dim>(p, shared, item);
    hand_on(item);
  }
  hand_on({-1, 0, 0, 0});
}

// One fence serves as many splits as there are.
template <int Dim>
__device__ void Publish(const SeatParams& p, Shared<Dim>& shared) {
  const int self = static_cast<int>(threadIdx.x) % kWarpSize;
  for (Turn turn;;) {
    SeatItem mine = {-1, 0, 0, 0};
    Turn taken = turn;
    bool end = false;
    int count = 0;
    WaitFor(&shared.written[turn.index], turn.phase);
    do {
      const SeatItem item = shared.computed[turn.index];
      end = item.lane < 0;
      if (self == count++) mine = item;
      turn.Next(kWritten);
    } while (!end && count < kWritten && __all_sync(kAllLanes, CompletedNow(&shared.written[turn.index], turn.phase)));
    FinishSplit(p, mine);
    if (end) return;
    for (; count > 0; --count, taken.Next(kWritten)) Arrive(&shared.published[taken.index]);
  }
}

template <int Dim>
__device__ void Fetch(const SeatParams& p, Shared<Dim>& shared) {
  const int cta = static_cast<int>(blockIdx.x), fetchers = FetchersOf(p);
  if (cta >= fetchers) return;
#if __CUDA_ARCH__ >= 900
  // By the bulk copy engine: a warp's own loads from host memory would hold up all others of the multiprocessor.
  if (threadIdx.x % kWarpSize != 0) return;
  const int pieces = CopiesOf(p) * p.pieces, words = static_cast<int>(p.frame.bytes / sizeof(int4));
  int phase = 0;
  for (Pieces own(p, cta, fetchers); own.next() < pieces; phase ^= 1) {
    const int piece = own.next(), copy = piece / p.pieces, first = piece % p.pieces * p.piece_words;
    const uint32_t bytes = static_cast<uint32_t>(min(p.piece_words, words - first) * static_cast<int>(sizeof(int4)));
    const ops::BlockCopy block = p.copies[copy];
    BulkLoad(shared.piece, reinterpret_cast<const int4*>(block.from) + first, bytes, &shared.landed);
    own.Take();  // while this one is on its way, and others have begun with theirs
    WaitFor(&shared.landed, phase);
    BulkStore(reinterpret_cast<int4*>(block.to) + first, shared.piece, bytes);
    __threadfence();
    atomicAdd(p.arrived + copy, 1);
  }
#else
  FetchBlocks(p, cta, fetchers);
#endif
}

template <int Dim>
__global__ void __launch_bounds__(kThreads, 1) MmaAttention(const __grid_constant__ SeatParams p, int stages) {
  extern __shared__ __align__(128) unsigned char mma_shared[];
  Shared<Dim>& shared = *reinterpret_cast<Shared<Dim>*>(mma_shared);
  constexpr size_t kRings = (sizeof(Shared<Dim>) + 127) / 128 * 128;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize;
  if (threadIdx.x == 0) {
    for (int i = 0; i < kQueue; ++i) {
      InitBarrier(&shared.planned_full[i], kWarpSize);
      InitBarrier(&shared.planned_empty[i], (2 * kWarps + 1) * kWarpSize);
    }
    for (int i = 0; i < kQueries; ++i) {
      InitBarrier(&shared.query_full[i], kWarpSize);
      InitBarrier(&shared.query_empty[i], kWarps * kWarpSize);
    }
    for (int i = 0; i < kWritten; ++i) {
      InitBarrier(&shared.written[i], kWarps);
      InitBarrier(&shared.published[i], kWarpSize);
    }
    InitBarrier(&shared.landed, 1);
    for (int w = 0; w < kWarps; ++w) {
      for (int i = 0; i < stages; ++i) {
        InitBarrier(&shared.full[w][i], kWarpSize);
        InitBarrier(&shared.empty[w][i], 1);
      }
    }
#if __CUDA_ARCH__ >= 900
    BarrierReadyForBulk();
#endif
  }
  // The next kernel is not let start: it would have two CTAs where there is none of these, and none where there is.
  __syncthreads();
  WaitForPrevious();
  Stage<Dim>* ring = reinterpret_cast<Stage<Dim>*>(mma_shared + kRings) + warp % kWarps * stages;
  if (warp < kLoad) {
    Compute<Dim>(p, shared, ring, stages, warp);
  } else if (warp < kPlan) {
    Load<Dim>(p, shared, ring, stages, warp - kLoad);
  } else if (warp == kPlan) {
    Plan<Dim>(p, shared);
  } else if (warp == kQuery) {
    Query<Dim>(p, shared);
  } else if (warp == kPublish) {
    Publish<Dim>(p, shared);
  } else {
    Fetch<Dim>(p, shared);
  }
  MergeHeads<Dim / kWarpSize>(p);
}

template <int Dim>
bool LaunchMma(SeatParams p, int multiprocessors, cudaStream_t stream) {
  static const int most = [] {
    int device = 0, bytes = 0;
    NOSA_CUDA_CHECK(cudaGetDevice(&device));
    NOSA_CUDA_CHECK(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
    return bytes;
  }();
  constexpr int kFixed = (static_cast<int>(sizeof(Shared<Dim>)) + 127) / 128 * 128, kRing = kWarps * sizeof(Stage<Dim>);
  const int stages = std::min((most - 1024 - kFixed) / kRing, kMostStages);  // static memory and the driver's take some
  if (stages < 2) return false;
  const size_t shared = static_cast<size_t>(kFixed + stages * kRing);
  constexpr int kFetched = kWarpSize * kFetchWords * static_cast<int>(sizeof(int4));  // by a warp, at a time
  p.fetchers = HasHopperLaunches() ? multiprocessors : (kFetchBytes + kFetched - 1) / kFetched;
  AllowShared(reinterpret_cast<const void*>(&MmaAttention<Dim>), shared);
  Launch(&MmaAttention<Dim>,
         dim3(static_cast<unsigned>(std::min<int64_t>(multiprocessors, int64_t{p.lanes} * p.splits))), dim3(kThreads),
         shared, stream, p, stages);
  return true;
}

}  // namespace

bool LaunchSeatMma(const SeatParams& p, int multiprocessors, cudaStream_t stream) {
  const ops::BlockFrame& frame = p.frame;
  if (frame.dtype != DType::kBF16 || frame.k_dim != frame.v_dim || frame.v_offset % 16 != 0 || p.group > kHeads ||
      p.q_stride % 2 != 0 || reinterpret_cast<uintptr_t>(p.q) % 8 != 0) {
    return false;
  }
  if (frame.k_dim == 128) return LaunchMma<128>(p, multiprocessors, stream);
  if (frame.k_dim == 64) return LaunchMma<64>(p, multiprocessors, stream);
  return false;
}

}  // namespace nosa::cuda
