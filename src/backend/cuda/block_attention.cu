// Any shape, on the general cores: a warp takes a (row, head) pair of a tile at a time, lanes are tokens for the
// logits and channels for the values. What is computed for a pair depends on the tile and the pair alone.
#include "ops/block_attention.h"

#include <cuda_bf16.h>

#include <algorithm>

#include "backend/cuda/block_attention.h"
#include "backend/cuda/partial_merge.cuh"

namespace nosa::cuda {
namespace {

constexpr int kWarp = 32;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ __forceinline__ float Widen(float x) { return x; }
__device__ __forceinline__ float Widen(__nv_bfloat16 x) { return __bfloat162float(x); }

// One (row, head) pair and one tile. `weights`: [block_size] of this warp; `i`: the index of the state's head.
template <typename T>
__device__ void AttendPair(const AttentionPlan& plan, const ops::AttentionTile& tile, const float* q, int visible,
                           int64_t i, float* weights) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp, dim = plan.k_dim, channels = plan.states.v_dim;
  const T* keys = static_cast<const T*>(tile.k);
  const T* values = static_cast<const T*>(tile.v);
  float max = -INFINITY;
  for (int j = lane; j < visible; j += kWarp) {
    float dot = 0;
    for (int d = 0; d < dim; ++d) dot = fmaf(q[d], Widen(keys[static_cast<int64_t>(j) * dim + d]), dot);
    const float logit = fmaf(dot, plan.scale, tile.s != nullptr ? tile.s[j] : 0.0f);
    weights[j] = logit;
    max = fmaxf(max, logit);
  }
  for (int o = kWarp / 2; o > 0; o /= 2) max = fmaxf(max, __shfl_xor_sync(kAllLanes, max, o));
  float sum = 0;
  for (int j = lane; j < visible; j += kWarp) {
    const float weight = expf(weights[j] - max);
    weights[j] = weight;
    sum += weight;
  }
  for (int o = kWarp / 2; o > 0; o /= 2) sum += __shfl_xor_sync(kAllLanes, sum, o);

  const float old = plan.states.m[i];
  const bool empty = old == -INFINITY;
  const MergeFactors f = FactorsOf(old, max);
  __syncwarp();  // the weights are written, and `old` read by all
  if (lane == 0) {
    plan.states.m[i] = f.m;
    plan.states.l[i] = empty ? sum : MergeValues(plan.states.l[i], f.first, sum, f.second);
  }
  float* acc = plan.states.acc + i * channels;
  for (int c = lane; c < channels; c += kWarp) {
    float part = 0;
    for (int j = 0; j < visible; ++j) {
      part = fmaf(weights[j], Widen(values[static_cast<int64_t>(j) * channels + c]), part);
    }
    acc[c] = empty ? part : MergeValues(acc[c], f.first, part, f.second);
  }
  __syncwarp();  // before the next pair's weights
}

// Block (group, slice): the group's tiles in order, of them the rows of the slice, so that a state has one owner.
template <typename T>
__global__ void AttendAny(AttentionPlan plan) {
  extern __shared__ float shared[];
  const int warp = static_cast<int>(threadIdx.x) / kWarp, warps = static_cast<int>(blockDim.x) / kWarp;
  float* weights = shared + static_cast<int64_t>(warp) * plan.block_size;
  const int heads = plan.states.heads;
  const unsigned slice = blockIdx.y, slices = gridDim.y;
  const int32_t last = plan.groups[blockIdx.x + 1];
  for (int32_t t = plan.groups[blockIdx.x]; t < last; ++t) {
    const ops::AttentionTile tile = plan.tiles[t];
    const int64_t pairs = static_cast<int64_t>(tile.ref_count) * heads;
    for (int64_t pair = warp; pair < pairs; pair += warps) {
      const int nth = tile.ref_begin + static_cast<int>(pair / heads);
      const ops::BlockAttentionArgs::Ref ref =
          plan.masks == nullptr ? plan.refs[nth] : ops::BlockAttentionArgs::Ref{nth, plan.StateOf(tile.kv_head, nth)};
      if (static_cast<unsigned>(ref.row) % slices != slice) continue;
      if (plan.masks != nullptr && !plan.Reads(tile, ref.row)) continue;
      const int head = static_cast<int>(pair % heads);
      const int visible = min(tile.tokens, plan.positions[ref.row] - tile.first_pos + 1);
      if (visible <= 0) continue;
      const float* q =
          plan.q + ref.row * plan.q_stride + (static_cast<int64_t>(tile.kv_head) * heads + head) * plan.k_dim;
      AttendPair<T>(plan, tile, q, visible, static_cast<int64_t>(ref.state) * heads + head, weights);
    }
    __syncthreads();  // another warp may have the pair in the next tile
  }
}

void LaunchAny(Context& context, ops::Stream stream, const AttentionPlan& plan, DType dtype) {
  constexpr size_t kShared = 48 << 10;  // what every device gives
  const size_t row = static_cast<size_t>(plan.block_size) * sizeof(float);
  NOSA_CHECK(row <= kShared, "blocks of {} tokens are more than this device's {}", plan.block_size,
             kShared / sizeof(float));
  const int warps = static_cast<int>(std::min<size_t>(8, kShared / row));
  // Enough blocks to fill the device several times over, as their work differs.
  const int64_t wanted = CeilDiv(int64_t{16} * context.multiprocessors(), plan.group_count);
  const auto slices = static_cast<unsigned>(std::clamp<int64_t>(wanted, 1, plan.rows));
  const dim3 grid(static_cast<unsigned>(plan.group_count), slices);
  const size_t shared = row * static_cast<size_t>(warps);
  if (dtype == DType::kF32) {
    AttendAny<float><<<grid, warps * kWarp, shared, context.stream(stream)>>>(plan);
  } else {
    AttendAny<__nv_bfloat16><<<grid, warps * kWarp, shared, context.stream(stream)>>>(plan);
  }
  NOSA_CUDA_LAUNCHED();
}

// Refs that tiles have, of which a call may bring more. Tiles read in place may lie where the host cannot read them.
int RefsOf(const ops::BlockAttentionArgs& args, const AttentionPlan& plan) {
  if (plan.tiles == args.tiles.data()) {
    return args.masks.empty() ? static_cast<int>(args.refs.size()) : plan.rows * plan.tile_count;
  }
  int refs = 0;
  for (const ops::AttentionTile& tile : args.tiles) refs += tile.ref_count;
  return refs;
}

}  // namespace

void block_attention(ops::Backend& backend, ops::Stream stream, const ops::BlockAttentionArgs& args) {
  if (args.groups.size() < 2 || args.tiles.empty() || (args.refs.empty() && args.masks.empty())) return;
  Context& context = ContextOf(backend);
  AttentionPlan plan = {.q = args.q.row<float>(0),
                        .q_stride = args.q.row_stride(),
                        .positions = context.Stage(args.positions, stream),
                        .tiles = context.Stage(args.tiles, stream),
                        .refs = args.masks.empty() ? context.Stage(args.refs, stream) : nullptr,
                        .masks = context.Stage(args.masks, stream),
                        .groups = context.Stage(args.groups, stream),
                        .states = args.states,
                        .k_dim = static_cast<int>(args.q.dim(2)),
                        .rows = static_cast<int>(args.q.rows()),
                        .block_size = args.block_size,
                        .mask_words = args.mask_words,
                        .scale = args.scale,
                        .group_count = static_cast<int>(args.groups.size()) - 1,
                        .tile_count = static_cast<int>(args.tiles.size()),
                        .ref_count = 0,
                        .kv_heads = static_cast<int>(args.q.dim(1)) / args.states.heads};
  plan.ref_count = RefsOf(args, plan);
  if (BlockAttentionOnWarpgroups(context, stream, plan, args.dtype)) return;
  if (BlockAttentionOnTensorCores(context, stream, plan, args.dtype)) return;
  LaunchAny(context, stream, plan, args.dtype);
}

}  // namespace nosa::cuda
