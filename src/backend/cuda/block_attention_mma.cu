// Block attention of bf16 caches on tensor cores. A tile of the product is 16 (row, head) pairs, a row's heads side by
// side, times the tokens of a block. Two kernels, which give the same bits, as they take the same products and sums in
// the same order: AttendRows has many rows to a block of the cache, and its warps have pairs of their own; AttendFew
// has 16 pairs, and its warps share the block. Both keep the states of their pairs in registers from block to block.
#include <algorithm>

#include "backend/cuda/attend_pairs.cuh"
#include "backend/cuda/shared_rows.cuh"
#include "backend/cuda/tile_walk.cuh"

namespace nosa::cuda {
namespace {

constexpr int kThreads = 128, kWarps = kThreads / kWarpSize;

// Starts copying the first `tokens` rows of a [block, D] matrix; zeros after them, so that nothing there can be NaN.
template <int D>
__device__ __forceinline__ void CopyRows(uint32_t to, const void* from, int tokens) {
  constexpr int kPieces = Rows<D>::kPieces;
  const char* bytes = static_cast<const char*>(from);
#pragma unroll
  for (int j = 0; j < kTokens * kPieces / kThreads; ++j) {
    const int i = static_cast<int>(threadIdx.x) + j * kThreads, row = i / kPieces;
    const bool valid = row < tokens;
    CopyAsync16(to + Rows<D>::Offset(row, i % kPieces * 8), bytes + (valid ? i * 16 : 0), valid);
  }
}
// The bias of the first `tokens` tokens, zeros after them and where there is none; `any` is some valid address.
__device__ __forceinline__ void CopyBias(uint32_t to, const float* s, int tokens, const void* any) {
  const int j = static_cast<int>(threadIdx.x);
  if (j >= kTokens) return;
  const bool valid = s != nullptr && j < tokens;
  CopyAsync4(to + static_cast<uint32_t>(j) * 4u, valid ? static_cast<const void*>(s + j) : any, valid);
}

// Queries of pairs [0, kPairs) of a slice to shared memory: [kPairs][D], rounded to bf16, zeros for pairs without a
// row.
template <int D, int kPairs>
__device__ __forceinline__ void LoadQueries(char* to, const AttentionPlan& plan, int row0, int rows, int kv_head) {
  const int heads = plan.states.heads;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < kPairs * D / 2; i += kThreads) {
    const int pair = i / (D / 2), d = i % (D / 2) * 2;
    const int slot = pair / heads, head = pair - slot * heads;
    float a = 0, b = 0;
    if (slot < rows && row0 + slot < plan.rows) {
      const float* q = plan.q + (row0 + slot) * plan.q_stride + (static_cast<int64_t>(kv_head) * heads + head) * D + d;
      a = q[0];
      b = q[1];
    }
    *reinterpret_cast<uint32_t*>(to + Rows<D>::Offset(pair, d)) = PackBf16(a, b);
  }
}

// part += weights times values, one chunk of tokens and 16 channels.
__device__ __forceinline__ void AddValues(float (&part)[2][4], const uint32_t (&weights)[4],
                                          const uint32_t (&values)[4]) {
  MultiplyAdd(part[0], weights, values[0], values[1]);
  MultiplyAdd(part[1], weights, values[2], values[3]);
}

// ---- many rows ----

template <int D, int kTilesOfWarp>
struct RowsShared {
  static constexpr int kPairs = kWarps * kTilesOfWarp * 16;
  // Operands B taken together, of 16 columns: four products that do not wait for each other.
  static constexpr int kAtOnce = kTilesOfWarp == 1 ? 2 : 1;
  using Walk = TileWalk<kThreads, 128, 2048, kPairs>;

  alignas(1024) char q[kPairs * D * 2];
  alignas(1024) char k[kTokens * D * 2];
  alignas(1024) char v[kTokens * D * 2];
  alignas(16) float bias[kTokens];
  Walk walk;
};

// Logits of a warp's pairs, without scale and bias.
template <int D, int kTilesOfWarp>
__device__ __forceinline__ void Products(const RowsShared<D, kTilesOfWarp>& shared,
                                         float (&s)[kTilesOfWarp][kTokens / 8][4]) {
  using Layout = Rows<D>;
  using Shared = RowsShared<D, kTilesOfWarp>;
  const int lane = static_cast<int>(threadIdx.x) % kWarpSize, warp = static_cast<int>(threadIdx.x) / kWarpSize;
  const uint32_t q =
      Layout::First(SharedAddress(shared.q) + static_cast<uint32_t>(warp * kTilesOfWarp * 16) * Layout::kPitch, lane);
  const uint32_t k = Layout::FirstOfColumns(SharedAddress(shared.k), lane);
#pragma unroll
  for (int i = 0; i < kTilesOfWarp; ++i) {
#pragma unroll
    for (int n = 0; n < kTokens / 8; ++n) s[i][n][0] = s[i][n][1] = s[i][n][2] = s[i][n][3] = 0;
  }
#pragma unroll
  for (int step = 0; step < D / kChunk; ++step) {
    uint32_t a[kTilesOfWarp][4];
#pragma unroll
    for (int i = 0; i < kTilesOfWarp; ++i) {
      LoadMatrices(a[i], Layout::AtStep(q, step) + static_cast<uint32_t>(i) * 16u * Layout::kPitch);
    }
#pragma unroll
    for (int first = 0; first < kTokens / 16; first += Shared::kAtOnce) {
      uint32_t b[Shared::kAtOnce][4];
#pragma unroll
      for (int n = 0; n < Shared::kAtOnce; ++n) {
        LoadMatrices(b[n], Layout::AtStep(k, step) + static_cast<uint32_t>(first + n) * 16u * Layout::kPitch);
      }
#pragma unroll
      for (int n = 0; n < Shared::kAtOnce; ++n) {
#pragma unroll
        for (int i = 0; i < kTilesOfWarp; ++i) {
          MultiplyAdd(s[i][2 * (first + n)], a[i], b[n][0], b[n][1]);
          MultiplyAdd(s[i][2 * (first + n) + 1], a[i], b[n][2], b[n][3]);
        }
      }
    }
  }
}

// Blocks (group, slice): slice i has the group's i-th rows of kPairs pairs, then those gridDim.y further.
template <int D, int kTilesOfWarp>
__global__ void __launch_bounds__(kThreads, 2) AttendRows(AttentionPlan plan) {
  using Shared = RowsShared<D, kTilesOfWarp>;
  extern __shared__ __align__(1024) char memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  auto& walk = shared.walk;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int heads = plan.states.heads, rows = Shared::kPairs / heads, window = Shared::Walk::Window(rows);
  const int first = plan.groups[blockIdx.x], last = plan.groups[blockIdx.x + 1];
  int lowest, highest;
  if (!walk.FindRows(plan, first, last, &lowest, &highest)) return;

  for (int row0 = lowest + static_cast<int>(blockIdx.y) * rows; row0 <= highest;
       row0 += static_cast<int>(gridDim.y) * rows) {
    walk.EnterSlice(plan, row0, rows);
    Carried<D / 8> carried[kTilesOfWarp];
#pragma unroll
    for (int i = 0; i < kTilesOfWarp; ++i) carried[i].Enter((warp * kTilesOfWarp + i) * 16, heads, rows);
    int q_head = -1;
    for (int at = first; at < last; at += window) {
      const int count = walk.Look(plan, at, min(window, last - at), row0, rows);
      if (count == 0) continue;
      const auto start_keys = [&](int t) {
        CopyRows<D>(SharedAddress(shared.k), walk.tiles[t].k, walk.tiles[t].tokens);
        CopyBias(SharedAddress(shared.bias), walk.tiles[t].s, walk.tiles[t].tokens, walk.tiles[t].k);
        CommitCopies();
      };
      start_keys(0);
      for (int t = 0; t < count; ++t) {
        const auto& tile = walk.tiles[t];
        const int tokens = tile.tokens, first_pos = tile.first_pos;
        if (tile.kv_head !=
            q_head) {  // no warp still reads the queries: all have passed the barrier after the products
          q_head = tile.kv_head;
          LoadQueries<D, Shared::kPairs>(shared.q, plan, row0, rows, q_head);
        }
        WaitForCopies<0>();
        __syncthreads();  // keys, bias and queries are there; the values of the tile before are read
        CopyRows<D>(SharedAddress(shared.v), tile.v, tokens);
        CommitCopies();

        int next[kTilesOfWarp][2];
        bool any = false;
#pragma unroll
        for (int i = 0; i < kTilesOfWarp; ++i) {
#pragma unroll
          for (int r = 0; r < 2; ++r) {
            const int slot = carried[i].slot[r];
            next[i][r] = slot < 0 ? -1 : walk.states[tile.slot + slot];
            any |= next[i][r] >= 0;
          }
        }
        any = __any_sync(kAllLanes, any);
        uint32_t weights[kTilesOfWarp][kTokens / kChunk][4];
        MergeFactors factors[kTilesOfWarp][2];
        bool active[kTilesOfWarp][2];
        if (any) {
          float s[kTilesOfWarp][kTokens / 8][4];
          Products<D, kTilesOfWarp>(shared, s);
#pragma unroll
          for (int i = 0; i < kTilesOfWarp; ++i) {
            int visible[2];
            float m[2], l[2];
#pragma unroll
            for (int r = 0; r < 2; ++r) {
              active[i][r] = next[i][r] >= 0;
              visible[r] = active[i][r] ? min(tokens, walk.positions[carried[i].slot[r]] - first_pos + 1) : kTokens;
            }
            if (__all_sync(kAllLanes, visible[0] >= kTokens && visible[1] >= kTokens)) {
              Softmax<false>(s[i], shared.bias, plan.scale, visible, m, l);
            } else {
              Softmax<true>(s[i], shared.bias, plan.scale, visible, m, l);
            }
            ToOperand(s[i], weights[i]);
#pragma unroll
            for (int r = 0; r < 2; ++r) {
              carried[i].Switch(plan.states, r, next[i][r], 0);
              if (active[i][r]) factors[i][r] = carried[i].MergeScalars(r, m[r], l[r]);
            }
          }
        }
        WaitForCopies<0>();
        __syncthreads();  // the values are there; the keys and the bias are read
        if (t + 1 < count) start_keys(t + 1);
        if (!any) continue;
        const uint32_t v = Rows<D>::First(SharedAddress(shared.v), lane);
#pragma unroll
        for (int from = 0; from < D / 16; from += Shared::kAtOnce) {
          float part[Shared::kAtOnce][kTilesOfWarp][2][4] = {};
#pragma unroll
          for (int c = 0; c < kTokens / kChunk; ++c) {
#pragma unroll
            for (int n = 0; n < Shared::kAtOnce; ++n) {
              uint32_t b[4];
              LoadMatricesTransposed(
                  b, Rows<D>::AtStep(v, from + n) + static_cast<uint32_t>(c) * kChunk * Rows<D>::kPitch);
#pragma unroll
              for (int i = 0; i < kTilesOfWarp; ++i) AddValues(part[n][i], weights[i][c], b);
            }
          }
#pragma unroll
          for (int n = 0; n < Shared::kAtOnce; ++n) {
#pragma unroll
            for (int i = 0; i < kTilesOfWarp; ++i) {
              MergeChannels(carried[i], 2 * (from + n), part[n][i][0], factors[i], active[i]);
              MergeChannels(carried[i], 2 * (from + n) + 1, part[n][i][1], factors[i], active[i]);
            }
          }
        }
      }
    }
#pragma unroll
    for (int i = 0; i < kTilesOfWarp; ++i) {
      carried[i].Store(plan.states, 0, 0);
      carried[i].Store(plan.states, 1, 0);
    }
  }
}

// ---- few rows ----

template <int D>
struct FewShared {
  static constexpr int kPairs = 16;
  using Walk = TileWalk<kThreads, 32, 32 * kPairs, kPairs>;

  alignas(1024) char q[kPairs * D * 2];
  alignas(1024) char k[2][kTokens * D * 2];
  alignas(1024) char v[2][kTokens * D * 2];
  alignas(1024) char weights[kPairs * kTokens * 2];
  alignas(16) float bias[2][kTokens];
  float m[kPairs][kWarps];
  float l[kPairs][4][kWarps];  // by lane of the row
  Walk walk;
};

// Blocks (group, slice) as AttendRows. Warp w has chunk w of the tokens, then quarter w of the channels.
template <int D>
__global__ void __launch_bounds__(kThreads) AttendFew(AttentionPlan plan) {
  static_assert(kWarps == kTokens / kChunk);
  using Shared = FewShared<D>;
  using Layout = Rows<D>;
  constexpr int kChannels = D / kWarps;
  extern __shared__ __align__(1024) char memory[];
  Shared& shared = *reinterpret_cast<Shared*>(memory);
  auto& walk = shared.walk;
  const int warp = static_cast<int>(threadIdx.x) / kWarpSize, lane = static_cast<int>(threadIdx.x) % kWarpSize;
  const int quad = lane / 4, column = lane % 4 * 2;
  const int heads = plan.states.heads, rows = Shared::kPairs / heads, window = Shared::Walk::Window(rows);
  const int first = plan.groups[blockIdx.x], last = plan.groups[blockIdx.x + 1];
  int lowest, highest;
  if (!walk.FindRows(plan, first, last, &lowest, &highest)) return;

  for (int row0 = lowest + static_cast<int>(blockIdx.y) * rows; row0 <= highest;
       row0 += static_cast<int>(gridDim.y) * rows) {
    walk.EnterSlice(plan, row0, rows);
    Carried<kChannels / 8> carried;
    carried.Enter(0, heads, rows);
    int q_head = -1;
    for (int at = first; at < last; at += window) {
      const int count = walk.Look(plan, at, min(window, last - at), row0, rows);
      if (count == 0) continue;
      const auto start = [&](int t) {
        CopyRows<D>(SharedAddress(shared.k[t % 2]), walk.tiles[t].k, walk.tiles[t].tokens);
        CopyBias(SharedAddress(shared.bias[t % 2]), walk.tiles[t].s, walk.tiles[t].tokens, walk.tiles[t].k);
        CopyRows<D>(SharedAddress(shared.v[t % 2]), walk.tiles[t].v, walk.tiles[t].tokens);
      };
      start(0);
      CommitCopies();
      for (int t = 0; t < count; ++t) {
        const auto& tile = walk.tiles[t];
        const int tokens = tile.tokens, first_pos = tile.first_pos;
        if (t + 1 < count) start(t + 1);
        CommitCopies();
        if (tile.kv_head != q_head) {
          q_head = tile.kv_head;
          LoadQueries<D, Shared::kPairs>(shared.q, plan, row0, rows, q_head);
        }
        int next[2], visible[2];
        bool active[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int slot = carried.slot[r];
          next[r] = slot < 0 ? -1 : walk.states[tile.slot + slot];
          active[r] = next[r] >= 0;
          visible[r] = active[r] ? min(tokens, walk.positions[slot] - first_pos + 1) : kTokens;
          carried.Switch(plan.states, r, next[r], warp * kChannels);
        }
        WaitForCopies<1>();
        __syncthreads();  // the tile and the queries are there

        // This warp's chunk of tokens: dot products, then logits.
        float s[2][4] = {};
        const uint32_t q = Layout::First(SharedAddress(shared.q), lane);
        const uint32_t k = Layout::FirstOfColumns(SharedAddress(shared.k[t % 2]), lane) +
                           static_cast<uint32_t>(warp) * kChunk * Layout::kPitch;
#pragma unroll
        for (int step = 0; step < D / kChunk; ++step) {
          uint32_t b[4];
          LoadMatrices(b, Layout::AtStep(k, step));
          uint32_t a[4];
          LoadMatrices(a, Layout::AtStep(q, step));
          MultiplyAdd(s[0], a, b[0], b[1]);
          MultiplyAdd(s[1], a, b[2], b[3]);
        }
        float m[2] = {-INFINITY, -INFINITY}, l[2];
#pragma unroll
        for (int n = 0; n < 2; ++n) {
          const int token = warp * kChunk + n * 8 + column;
          const float2 of_token = *reinterpret_cast<const float2*>(shared.bias[t % 2] + token);
          ToLogits<true>(s[n][0], s[n][1], plan.scale, of_token, token, visible[0]);
          ToLogits<true>(s[n][2], s[n][3], plan.scale, of_token, token, visible[1]);
          m[0] = fmaxf(m[0], fmaxf(s[n][0], s[n][1]));
          m[1] = fmaxf(m[1], fmaxf(s[n][2], s[n][3]));
        }
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          m[r] = MaxOfQuad(m[r]);
          if (lane % 4 == 0) shared.m[quad + 8 * r][warp] = m[r];
        }
        __syncthreads();  // the greatest logits of all chunks are there
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          const int pair = quad + 8 * r;
#pragma unroll
          for (int w = 0; w < kWarps; ++w) m[r] = fmaxf(m[r], shared.m[pair][w]);
          const float max = TimesLog2E(m[r]);
#pragma unroll
          for (int n = 0; n < 2; ++n) {
            s[n][2 * r] = ExpBelow(s[n][2 * r], max);
            s[n][2 * r + 1] = ExpBelow(s[n][2 * r + 1], max);
            *reinterpret_cast<uint32_t*>(shared.weights + Rows<kTokens>::Offset(pair, warp * kChunk + n * 8 + column)) =
                PackBf16(s[n][2 * r], s[n][2 * r + 1]);
          }
          shared.l[pair][lane % 4][warp] = SumOfChunk(s[0][2 * r], s[0][2 * r + 1], s[1][2 * r], s[1][2 * r + 1]);
        }
        __syncthreads();  // the weights and their sums are there
        MergeFactors factors[2];
#pragma unroll
        for (int r = 0; r < 2; ++r) {
          float chunks[kWarps];
#pragma unroll
          for (int w = 0; w < kWarps; ++w) chunks[w] = shared.l[quad + 8 * r][lane % 4][w];
          l[r] = SumOfChunks(chunks);
          if (active[r]) factors[r] = carried.MergeScalars(r, m[r], l[r]);
        }
        // This warp's channels.
        uint32_t weights[kTokens / kChunk][4];
        const uint32_t from = Rows<kTokens>::First(SharedAddress(shared.weights), lane);
#pragma unroll
        for (int c = 0; c < kTokens / kChunk; ++c) LoadMatrices(weights[c], Rows<kTokens>::AtStep(from, c));
        const uint32_t v = Layout::First(SharedAddress(shared.v[t % 2]), lane);
#pragma unroll
        for (int n = 0; n < kChannels / 16; ++n) {
          float part[2][4] = {};
#pragma unroll
          for (int c = 0; c < kTokens / kChunk; ++c) {
            uint32_t b[4];
            LoadMatricesTransposed(
                b, Layout::AtStep(v, warp * (kChannels / 16) + n) + static_cast<uint32_t>(c) * kChunk * Layout::kPitch);
            AddValues(part, weights[c], b);
          }
          MergeChannels(carried, 2 * n, part[0], factors, active);
          MergeChannels(carried, 2 * n + 1, part[1], factors, active);
        }
        __syncthreads();  // the tile is read: its memory takes the one after the next
      }
    }
    carried.Store(plan.states, 0, warp * kChannels);
    carried.Store(plan.states, 1, warp * kChannels);
  }
}

// ---- launches ----

int SharedLimit() {
  int device = 0, bytes = 0;
  NOSA_CUDA_CHECK(cudaGetDevice(&device));
  NOSA_CUDA_CHECK(cudaDeviceGetAttribute(&bytes, cudaDevAttrMaxSharedMemoryPerBlockOptin, device));
  return bytes;
}

void Launch(void (*kernel)(AttentionPlan), size_t shared, int pairs, Context& context, ops::Stream stream,
            const AttentionPlan& plan) {
  NOSA_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared)));
  kernel<<<AttentionGrid(context, plan, pairs), kThreads, shared, context.stream(stream)>>>(plan);
  NOSA_CUDA_LAUNCHED();
}

template <int D>
bool LaunchFor(Context& context, ops::Stream stream, const AttentionPlan& plan) {
  const int limit = SharedLimit();
  const auto fits = [&](size_t bytes) { return bytes <= static_cast<size_t>(limit); };
  using Small = RowsShared<D, 1>;
  using Large = RowsShared<D, 2>;
  if (!fits(std::max(sizeof(Small), sizeof(FewShared<D>)))) return false;
  const int64_t heads = plan.states.heads;
  // Which kernel is a matter of time alone. Pairs a tile has, and those of a group if groups share rows evenly.
  const int64_t of_tile = CeilDiv(std::max(1, plan.ref_count), plan.tile_count) * heads;
  const int64_t of_group = CeilDiv(int64_t{plan.rows} * plan.kv_heads, plan.group_count) * heads;
  if (of_tile <= FewShared<D>::kPairs) {
    Launch(AttendFew<D>, sizeof(FewShared<D>), FewShared<D>::kPairs, context, stream, plan);
  } else if (fits(sizeof(Large)) && of_group > Small::kPairs &&
             // Two large blocks a multiprocessor hide each other's waits; one alone is slower than two small ones.
             plan.group_count * CeilDiv(of_group, Large::kPairs) * 10 >= context.multiprocessors() * 19) {
    Launch(AttendRows<D, 2>, sizeof(Large), Large::kPairs, context, stream, plan);
  } else {
    Launch(AttendRows<D, 1>, sizeof(Small), Small::kPairs, context, stream, plan);
  }
  return true;
}

}  // namespace

bool BlockAttentionOnTensorCores(Context& context, ops::Stream stream, const AttentionPlan& plan, DType dtype) {
  if (!TensorCoresTake(plan, dtype)) return false;
  if (plan.k_dim == 64) return LaunchFor<64>(context, stream, plan);
  if (plan.k_dim == 128) return LaunchFor<128>(context, stream, plan);
  return false;
}

}  // namespace nosa::cuda
