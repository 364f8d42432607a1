// Per tile: keys transposed to f32 [D, B] and values widened to f32 [B, Dv] in scratch, once; then batches of (row,
// head) pairs go through Q K^T, softmax and P V and merge into their states. A batch has some ten register blocks of
// pairs, so that the keys stay in L1 for all of them before the values take their place. What is computed for a pair
// depends on the tile and the pair alone, never on the batch.
#include "ops/block_attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/block_attention.cc"
#include "backend/cpu/simd.h"

// In a block of their own, lest they are sorted before simd.h, which they need.
#include "backend/cpu/partial_merge-inl.h"
#include "backend/cpu/row_products-inl.h"
#include "backend/cpu/transpose_keys-inl.h"

#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_backend.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {

// A tile made ready: f32 in scratch of the thread, but for values that are read in place.
struct Block {
  size_t tokens = 0;
  size_t vectors = 0;  // of tokens
  size_t dim = 0;      // D
  const float* keys;   // [D, key_stride], lanes beyond `tokens` finite or not, never used
  size_t key_stride = 0;
  const void* values;  // [tokens, value_stride]: the cache's own, or f32 with zeros from Dv to the next vector
  bool values_in_place = false;
  size_t value_stride = 0;
  const float* bias;  // [key_stride]; null: none
  float* weights;     // [kBatch, key_stride], the batch's logits, then exp(logit - m)
};

// Pairs of a batch, a multiple of every register block and vector: their logits take 12 KiB at B = 64, a quarter of L1.
constexpr size_t kBatch = 48;
static_assert(kBatch % kMaxRows == 0 && kBatch % (HWY_MAX_BYTES / sizeof(float)) == 0);

// The pairs of a batch: where they come from and go to.
struct Batch {
  size_t count = 0;
  const float* q[kBatch];
  size_t visible[kBatch];  // tokens
  int64_t state[kBatch];   // index into m and l
  // Of the parts, then what their merge needs.
  HWY_ALIGN float m[kBatch];
  HWY_ALIGN float l[kBatch];
  HWY_ALIGN float first[kBatch];
  HWY_ALIGN float second[kBatch];
  bool empty[kBatch];
};

// Turns the dot products of pair i into weights; `m` and `l` of its part.
template <bool kBias>
HWY_INLINE void Softmax(const Block& block, float scale, Batch& batch, size_t i) {
  const FloatTag d;
  const size_t lanes = FloatLanes(), visible = batch.visible[i], vectors = block.vectors;
  float* weights = block.weights + i * block.key_stride;
  const float* bias = block.bias;
  const auto none = hn::Set(d, -INFINITY), factor = hn::Set(d, scale);
  auto most = none;
  for (size_t v = 0; v < vectors; ++v) {
    const size_t t = v * lanes;
    auto logit = hn::LoadU(d, weights + t);
    if constexpr (kBias) {
      logit = hn::MulAdd(logit, factor, hn::LoadU(d, bias + t));
    } else {
      logit = hn::Mul(logit, factor);
    }
    if (t + lanes > visible) logit = t < visible ? hn::IfThenElse(hn::FirstN(d, visible - t), logit, none) : none;
    most = hn::Max(most, logit);
    hn::StoreU(logit, d, weights + t);
  }
  const auto max = hn::MaxOfLanes(d, most);
  auto sum = hn::Zero(d);
  for (size_t v = 0; v < vectors; ++v) {
    const auto e = ExpBelow(d, hn::Sub(hn::LoadU(d, weights + v * lanes), max));
    sum = hn::Add(sum, e);
    hn::StoreU(e, d, weights + v * lanes);
  }
  batch.m[i] = hn::GetLane(max);
  batch.l[i] = SumLanes(d, sum);
}

// Merges m and l of the parts into the states, a vector of pairs at a time; the factors that acc needs.
void MergeScalars(const ops::PartialStates& states, Batch& batch) {
  const FloatTag d;
  HWY_ALIGN float m[kBatch] = {}, l[kBatch] = {};
  for (size_t i = 0; i < batch.count; ++i) {
    m[i] = states.m[batch.state[i]];
    l[i] = states.l[batch.state[i]];
    batch.empty[i] = m[i] == -INFINITY;
  }
  for (size_t i = batch.count; i < RoundUp(batch.count, FloatLanes()); ++i) batch.m[i] = batch.l[i] = 0;
  for (size_t i = 0; i < batch.count; i += FloatLanes()) {
    const MergeFactors f = FactorsOf(d, hn::Load(d, m + i), hn::Load(d, batch.m + i));
    hn::Store(f.first, d, batch.first + i);
    hn::Store(f.second, d, batch.second + i);
    hn::Store(f.m, d, m + i);
    hn::Store(MergeValues(hn::Load(d, l + i), f.first, hn::Load(d, batch.l + i), f.second), d, l + i);
  }
  for (size_t i = 0; i < batch.count; ++i) {
    states.m[batch.state[i]] = m[i];
    states.l[batch.state[i]] = batch.empty[i] ? batch.l[i] : l[i];
  }
}

// Merges `sums` of pair i, `left` channels of it at `acc`, into its state.
template <size_t kVectors>
HWY_INLINE void MergeChannels(const Batch& batch, size_t i, float* acc, size_t left, const FloatVec (&sums)[kVectors]) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  const auto first = hn::Set(d, batch.first[i]), second = hn::Set(d, batch.second[i]);
  const bool empty = batch.empty[i];
  if (left >= kVectors * lanes) {
    for (size_t v = 0; v < kVectors; ++v) {
      hn::StoreU(empty ? sums[v] : MergeValues(hn::LoadU(d, acc + v * lanes), first, sums[v], second), d,
                 acc + v * lanes);
    }
    return;
  }
  for (size_t v = 0; v < kVectors; ++v) {
    const size_t n = HWY_MIN(lanes, left - v * lanes);
    float* at = acc + v * lanes;
    StoreWideN(d, empty ? sums[v] : MergeValues(LoadWideN(d, at, n), first, sums[v], second), at, n);
  }
}

// Q K^T of pairs [i, i + kRows).
template <size_t kRows>
void Scores(const Block& block, const Batch& batch, size_t i) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  float* weights = block.weights + i * block.key_stride;
  ForVectorBlocks(block.vectors, [&]<size_t kVectors>(size_t first) HWY_ATTR {
    FloatVec sums[kRows][kVectors];
    RowProducts<kRows, kVectors>(d, batch.q + i, block.dim,
                                 DenseColumns<float>{block.keys + first * lanes, block.key_stride}, sums);
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t v = 0; v < kVectors; ++v)
        hn::StoreU(sums[r][v], d, weights + r * block.key_stride + (first + v) * lanes);
    }
  });
}

// P V of pairs [i, i + kRows), merged into their states; T: of block.values.
template <size_t kRows, typename T>
void Values(const ops::PartialStates& states, const Block& block, const Batch& batch, size_t i) {
  const FloatTag d;
  const size_t lanes = FloatLanes(), channels = static_cast<size_t>(states.v_dim);
  const float* weights[kRows];
  for (size_t r = 0; r < kRows; ++r) weights[r] = block.weights + (i + r) * block.key_stride;
  ForVectorBlocks((channels + lanes - 1) / lanes, [&]<size_t kVectors>(size_t first) HWY_ATTR {
    FloatVec sums[kRows][kVectors];
    const size_t c = first * lanes;
    // All tokens of the tile for every pair: hidden ones weigh 0.
    RowProducts<kRows, kVectors>(d, weights, block.tokens,
                                 DenseColumns<T>{static_cast<const T*>(block.values) + c, block.value_stride}, sums);
    for (size_t r = 0; r < kRows; ++r) {
      MergeChannels<kVectors>(batch, i + r, states.acc + batch.state[i + r] * states.v_dim + c, channels - c, sums[r]);
    }
  });
}

template <typename T, bool kBias>
void Flush(const ops::BlockAttentionArgs& args, const Block& block, Batch& batch) {
  ForRowBlocks(batch.count, [&]<size_t kRows>(size_t i) HWY_ATTR { Scores<kRows>(block, batch, i); });
  for (size_t i = 0; i < batch.count; ++i) Softmax<kBias>(block, args.scale, batch, i);
  MergeScalars(args.states, batch);
  ForRowBlocks(batch.count, [&]<size_t kRows>(size_t i) HWY_ATTR {
    if (block.values_in_place) {
      Values<kRows, T>(args.states, block, batch, i);
    } else {
      Values<kRows, float>(args.states, block, batch, i);
    }
  });
  batch.count = 0;
}

template <typename T>
void WidenValues(const T* values, size_t tokens, size_t channels, float* to, size_t stride) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  for (size_t t = 0; t < tokens; ++t) {
    size_t c = 0;
    for (; c + lanes <= channels; c += lanes)
      hn::StoreU(LoadWide(d, values + t * channels + c), d, to + t * stride + c);
    if (c < channels) hn::StoreU(LoadWideN(d, values + t * channels + c, channels - c), d, to + t * stride + c);
  }
}

template <typename T>
Block Prepare(const ops::BlockAttentionArgs& args, const ops::AttentionTile& tile, Scratch& scratch) {
  const size_t lanes = FloatLanes();
  const size_t stride = RoundUp(static_cast<uint64_t>(args.block_size), lanes);
  const auto channels = static_cast<size_t>(args.states.v_dim);
  Block block;
  block.tokens = static_cast<size_t>(tile.tokens);
  block.vectors = (block.tokens + lanes - 1) / lanes;
  block.dim = static_cast<size_t>(args.q.dim(2));
  block.key_stride = stride;
  block.value_stride = RoundUp(channels, lanes);

  const size_t value_numbers = static_cast<size_t>(args.block_size) * block.value_stride;
  float* keys = scratch.Get<float>(stride * block.dim + value_numbers + stride * (kBatch + 1));
  float* values = keys + stride * block.dim;
  float* bias = values + value_numbers;
  block.weights = bias + stride;
  TransposeKeys(static_cast<const T*>(tile.k), block.tokens, block.dim, keys, stride);
  // One register block of pairs reads the values once: widening them on the way costs less than a copy.
  const bool once = static_cast<size_t>(tile.ref_count) * static_cast<size_t>(args.states.heads) <= kMaxRows;
  block.values_in_place = channels % lanes == 0 && (sizeof(T) == sizeof(float) || once);
  if (!block.values_in_place)
    WidenValues(static_cast<const T*>(tile.v), block.tokens, channels, values, block.value_stride);
  if (tile.s != nullptr) std::memcpy(bias, tile.s, block.tokens * sizeof(float));
  block.keys = keys;
  block.values = block.values_in_place ? tile.v : values;
  block.bias = tile.s == nullptr ? nullptr : bias;
  return block;
}

template <typename T, bool kBias>
void RunTile(const ops::BlockAttentionArgs& args, const ops::AttentionTile& tile, Scratch& scratch) {
  const int64_t group = args.states.heads, dim = args.q.dim(2);
  Block block;
  Batch batch;
  bool prepared = false;
  for (int32_t i = 0; i < tile.ref_count; ++i) {
    ops::BlockAttentionArgs::Ref ref;
    if (!ops::ReaderOf(args, tile, i, &ref)) continue;
    const int32_t visible = HWY_MIN(tile.tokens, args.positions[static_cast<size_t>(ref.row)] - tile.first_pos + 1);
    if (visible <= 0) continue;
    if (!prepared) block = Prepare<T>(args, tile, scratch);
    prepared = true;
    const float* q = args.q.row<float>(ref.row) + tile.kv_head * group * dim;
    for (int64_t h = 0; h < group; ++h) {
      batch.q[batch.count] = q + h * dim;
      batch.visible[batch.count] = static_cast<size_t>(visible);
      batch.state[batch.count] = ref.state * group + h;
      if (++batch.count == kBatch) Flush<T, kBias>(args, block, batch);
    }
  }
  Flush<T, kBias>(args, block, batch);
}

template <typename T>
void RunTiles(const ops::BlockAttentionArgs& args, int32_t begin, int32_t end, Scratch& scratch) {
  for (int32_t t = begin; t < end; ++t) {
    const ops::AttentionTile& tile = args.tiles[static_cast<size_t>(t)];
    if (tile.s != nullptr) {
      RunTile<T, true>(args, tile, scratch);
    } else {
      RunTile<T, false>(args, tile, scratch);
    }
  }
}

void BlockAttention(const ops::BlockAttentionArgs& args, CpuContext& context) {
  if (args.groups.empty()) return;
  context.pool->ParallelFor(
      static_cast<int64_t>(args.groups.size()) - 1, 1, [&](int64_t begin, int64_t end, int thread) {
        for (int64_t i = begin; i < end; ++i) {
          const int32_t first = args.groups[static_cast<size_t>(i)], last = args.groups[static_cast<size_t>(i) + 1];
          if (args.dtype == DType::kF32) {
            RunTiles<float>(args, first, last, context.scratch[thread]);
          } else {
            RunTiles<BFloat16>(args, first, last, context.scratch[thread]);
          }
        }
      });
}

}  // namespace HWY_NAMESPACE
}  // namespace nosa::cpu
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace nosa::cpu {
HWY_EXPORT(BlockAttention);

void block_attention(ops::Backend& backend, ops::Stream, const ops::BlockAttentionArgs& args) {
  HWY_DYNAMIC_DISPATCH(BlockAttention)(args, ContextOf(backend));
}

}  // namespace nosa::cpu
#endif
