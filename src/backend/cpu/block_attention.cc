// Per tile: keys transposed to f32 [D, B] and values widened to f32 [B, Dv] in scratch, once; then batches of up to six
// (row, head) pairs go through Q K^T, softmax and P V, each with its accumulators in registers, and merge into their
// states. What is computed for a pair depends on the tile and the pair alone, never on the batch.
#include "ops/block_attention.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "backend/cpu/block_attention.cc"
#include "backend/cpu/simd.h"
#include "backend/cpu/partial_merge-inl.h"
#include "backend/cpu/row_products-inl.h"
#include "backend/cpu/transpose_keys-inl.h"

#include <cmath>
#include <cstring>

#include "backend/cpu/cpu_backend.h"

HWY_BEFORE_NAMESPACE();
namespace nosa::cpu {
namespace HWY_NAMESPACE {

// A tile made ready: all of it f32, in scratch of the thread (values may be the cache itself).
struct Block {
  size_t tokens = 0;
  size_t vectors = 0;       // of tokens
  size_t dim = 0;           // D
  const float* keys;        // [D, key_stride], lanes beyond `tokens` finite or not, never used
  size_t key_stride = 0;
  const float* values;      // [tokens, value_stride], zeros from Dv to the next vector
  size_t value_stride = 0;
  const float* bias;        // [key_stride]; null: none
  float* weights;           // [kMaxRows, key_stride], the batch's logits, then exp(logit - m)
};

// The pairs of a batch: where they come from and go to.
struct Batch {
  size_t count = 0;
  const float* q[kMaxRows];
  size_t visible[kMaxRows];  // tokens
  int64_t state[kMaxRows];   // index into m and l
};

// Turns the dot products of one pair into weights; `m` and `l` of the part.
template <bool kBias>
HWY_INLINE void Softmax(const Block& block, float scale, size_t visible, float* weights, float& m, float& l) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  const auto none = hn::Set(d, -INFINITY), factor = hn::Set(d, scale);
  auto most = none;
  for (size_t v = 0; v < block.vectors; ++v) {
    const size_t t = v * lanes;
    auto logit = hn::LoadU(d, weights + t);
    if constexpr (kBias) {
      logit = hn::MulAdd(logit, factor, hn::LoadU(d, block.bias + t));
    } else {
      logit = hn::Mul(logit, factor);
    }
    if (t + lanes > visible) logit = t < visible ? hn::IfThenElse(hn::FirstN(d, visible - t), logit, none) : none;
    most = hn::Max(most, logit);
    hn::StoreU(logit, d, weights + t);
  }
  const auto max = hn::MaxOfLanes(d, most);
  auto sum = hn::Zero(d);
  for (size_t v = 0; v < block.vectors; ++v) {
    const auto e = Exp(d, hn::Sub(hn::LoadU(d, weights + v * lanes), max));
    sum = hn::Add(sum, e);
    hn::StoreU(e, d, weights + v * lanes);
  }
  m = hn::GetLane(max);
  l = SumLanes(d, sum);
}

// Merges m and l of the batch's parts into the states; the factors that acc needs, and which states were empty.
template <size_t kRows>
HWY_INLINE void MergeScalars(const ops::PartialStates& states, const Batch& batch, const float* part_m, const float* part_l,
                             float* first, float* second, bool* empty) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  // One vector of pairs at a time: an Exp costs as much for one lane as for all.
  HWY_ALIGN float m1[HWY_MAX_BYTES / sizeof(float) + kMaxRows] = {}, l1[HWY_MAX_BYTES / sizeof(float) + kMaxRows] = {};
  for (size_t r = 0; r < kRows; ++r) {
    m1[r] = states.m[batch.state[r]];
    l1[r] = states.l[batch.state[r]];
    empty[r] = m1[r] == -INFINITY;
  }
  for (size_t r = 0; r < kRows; r += lanes) {
    const MergeFactors f = FactorsOf(d, hn::LoadU(d, m1 + r), hn::LoadU(d, part_m + r));
    hn::StoreU(f.first, d, first + r);
    hn::StoreU(f.second, d, second + r);
    hn::StoreU(f.m, d, m1 + r);
    hn::StoreU(MergeValues(hn::LoadU(d, l1 + r), f.first, hn::LoadU(d, part_l + r), f.second), d, l1 + r);
  }
  for (size_t r = 0; r < kRows; ++r) {
    states.m[batch.state[r]] = m1[r];
    states.l[batch.state[r]] = empty[r] ? part_l[r] : l1[r];
  }
}

// Merges vector block `sums` of pair r, channels from c on, into its state.
template <size_t kVectors>
HWY_INLINE void MergeChannels(float* acc, size_t left, const FloatVec (&sums)[kVectors], bool empty, float first, float second) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  const auto a = hn::Set(d, first), b = hn::Set(d, second);
  for (size_t v = 0; v < kVectors; ++v, acc += lanes, left -= HWY_MIN(left, lanes)) {
    if (left >= lanes) {
      hn::StoreU(empty ? sums[v] : MergeValues(hn::LoadU(d, acc), a, sums[v], b), d, acc);
    } else {
      StoreWideN(d, empty ? sums[v] : MergeValues(LoadWideN(d, acc, left), a, sums[v], b), acc, left);
    }
  }
}

template <size_t kRows, bool kBias>
void RunBatch(const ops::BlockAttentionArgs& args, const Block& block, const Batch& batch) {
  constexpr size_t kPadded = HWY_MAX_BYTES / sizeof(float) + kMaxRows;
  const FloatTag d;
  const size_t lanes = FloatLanes();
  ForVectorBlocks(block.vectors, [&]<size_t kVectors>(size_t first) HWY_ATTR {
    FloatVec sums[kRows][kVectors];
    RowProducts<kRows, kVectors>(d, batch.q, block.dim, DenseColumns<float>{block.keys + first * lanes, block.key_stride}, sums);
    for (size_t r = 0; r < kRows; ++r) {
      for (size_t v = 0; v < kVectors; ++v) hn::StoreU(sums[r][v], d, block.weights + r * block.key_stride + (first + v) * lanes);
    }
  });

  const float* weights[kRows];
  HWY_ALIGN float m[kPadded] = {}, l[kPadded] = {}, first_factor[kPadded], second_factor[kPadded];
  bool empty[kRows];
  for (size_t r = 0; r < kRows; ++r) {
    float* row = block.weights + r * block.key_stride;
    weights[r] = row;
    Softmax<kBias>(block, args.scale, batch.visible[r], row, m[r], l[r]);
  }
  MergeScalars<kRows>(args.states, batch, m, l, first_factor, second_factor, empty);

  const auto channels = static_cast<size_t>(args.states.v_dim);
  ForVectorBlocks((channels + lanes - 1) / lanes, [&]<size_t kVectors>(size_t first) HWY_ATTR {
    FloatVec sums[kRows][kVectors];
    const size_t c = first * lanes;
    // All tokens of the tile for every pair: hidden ones weigh 0.
    RowProducts<kRows, kVectors>(d, weights, block.tokens, DenseColumns<float>{block.values + c, block.value_stride}, sums);
    for (size_t r = 0; r < kRows; ++r) {
      MergeChannels<kVectors>(args.states.acc + batch.state[r] * args.states.v_dim + c, channels - c, sums[r], empty[r],
                              first_factor[r], second_factor[r]);
    }
  });
}

template <bool kBias>
void Flush(const ops::BlockAttentionArgs& args, const Block& block, Batch& batch) {
  while (batch.count > 0) {
    size_t done = 1;
    if (batch.count >= 6) {
      RunBatch<6, kBias>(args, block, batch);
      done = 6;
    } else if (batch.count >= 4) {
      RunBatch<4, kBias>(args, block, batch);
      done = 4;
    } else if (batch.count >= 2) {
      RunBatch<2, kBias>(args, block, batch);
      done = 2;
    } else {
      RunBatch<1, kBias>(args, block, batch);
    }
    batch.count -= done;
    for (size_t i = 0; i < batch.count; ++i) {
      batch.q[i] = batch.q[i + done];
      batch.visible[i] = batch.visible[i + done];
      batch.state[i] = batch.state[i + done];
    }
  }
}

template <typename T>
void WidenValues(const T* values, size_t tokens, size_t channels, float* to, size_t stride) {
  const FloatTag d;
  const size_t lanes = FloatLanes();
  for (size_t t = 0; t < tokens; ++t) {
    size_t c = 0;
    for (; c + lanes <= channels; c += lanes) hn::StoreU(LoadWide(d, values + t * channels + c), d, to + t * stride + c);
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
  float* keys = scratch.Get<float>(stride * block.dim + value_numbers + stride * (kMaxRows + 1));
  float* values = keys + stride * block.dim;
  float* bias = values + value_numbers;
  block.weights = bias + stride;
  TransposeKeys(static_cast<const T*>(tile.k), block.tokens, block.dim, keys, stride);
  WidenValues(static_cast<const T*>(tile.v), block.tokens, channels, values, block.value_stride);
  if (tile.s != nullptr) std::memcpy(bias, tile.s, block.tokens * sizeof(float));
  block.keys = keys;
  block.values = values;
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
    const auto& ref = args.refs[static_cast<size_t>(tile.ref_begin + i)];
    const int32_t visible = HWY_MIN(tile.tokens, args.positions[static_cast<size_t>(ref.row)] - tile.first_pos + 1);
    if (visible <= 0) continue;
    if (!prepared) block = Prepare<T>(args, tile, scratch);
    prepared = true;
    const float* q = args.q.row<float>(ref.row) + tile.kv_head * group * dim;
    for (int64_t h = 0; h < group; ++h) {
      batch.q[batch.count] = q + h * dim;
      batch.visible[batch.count] = static_cast<size_t>(visible);
      batch.state[batch.count] = ref.state * group + h;
      if (++batch.count == kMaxRows) Flush<kBias>(args, block, batch);
    }
  }
  Flush<kBias>(args, block, batch);
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
  context.pool->ParallelFor(static_cast<int64_t>(args.groups.size()) - 1, 1, [&](int64_t begin, int64_t end, int thread) {
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
