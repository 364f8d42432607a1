// A small attention problem for the tests of block_attention and merge_states: a cache cut into blocks, queries at
// various positions, and the tiles in which they meet.
#pragma once

#include <algorithm>
#include <cstring>
#include <limits>

#include "op_test.h"
#include "ops/block_attention.h"
#include "ops/merge_states.h"
#include "ops/reset_states.h"

namespace nosa::ops {

struct AttentionShape {
  int block = 64;
  int64_t k_dim = 64, v_dim = 64;
  int group = 4, kv_heads = 2;
  int32_t tokens = 200;
  int32_t rows = 9;
  DType dtype = DType::kF32;
  bool bias = true;

  int32_t blocks() const { return static_cast<int32_t>(CeilDiv(tokens, block)); }
  std::string Name() const {
    return fmt::format("B {} D {} Dv {} g {} G {} tokens {} rows {} {}{}", block, k_dim, v_dim, group, kv_heads, tokens,
                       rows, DTypeName(dtype), bias ? " biased" : "");
  }
};

inline std::vector<AttentionShape> AttentionShapes() {
  std::vector<AttentionShape> shapes;
  struct Base {
    int block;
    int64_t k_dim, v_dim;
    int group, kv_heads;
  };
  for (const Base& b : std::vector<Base>{{64, 64, 64, 4, 2},
                                         {64, 128, 128, 16, 1},
                                         {16, 32, 32, 1, 2},
                                         {16, 32, 32, 8, 1},
                                         {16, 32, 32, 3, 1},
                                         {7, 5, 3, 3, 2},
                                         {1, 1, 1, 1, 1},
                                         {33, 40, 24, 2, 1},
                                         {80, 17, 50, 5, 1},
                                         {48, 20, 112, 7, 1}}) {
    for (const int32_t tokens : {1, b.block - 1, b.block, b.block + 1, 3 * b.block + b.block / 2}) {
      for (const DType dtype : {DType::kF32, DType::kBF16}) {
        for (const bool bias : {false, true}) {
          if (tokens > 0) shapes.push_back({b.block, b.k_dim, b.v_dim, b.group, b.kv_heads, tokens, 9, dtype, bias});
        }
      }
    }
  }
  // More tiles than any ring of them holds.
  shapes.push_back({64, 128, 128, 16, 1, 20 * 64 + 5, 9, DType::kBF16, true});
  shapes.push_back({64, 64, 64, 4, 2, 20 * 64 + 5, 9, DType::kBF16, false});
  return shapes;
}

// Owned states with guards behind.
struct OwnedStates {
  OwnedStates(int64_t states, int heads_, int64_t v_dim_)
      : m(static_cast<size_t>(states * heads_) + 1, 0.0f),
        l(m),
        acc(static_cast<size_t>(states * heads_ * v_dim_) + 1, 0.0f),
        view{m.data(), l.data(), acc.data(), states, heads_, static_cast<int>(v_dim_)} {
    reset_states(*reference::MakeReferenceBackend(), {}, {view});
  }
  OwnedStates(OwnedStates&&) = default;

  TestVector<float> m, l, acc;
  PartialStates view;
};

inline bool SameBits(const TestVector<float>& a, const TestVector<float>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(float)) == 0;
}

class AttentionProblem {
 public:
  // How the same work is put into tiles, groups and states.
  struct Cut {
    int refs_per_tile = 1 << 20;
    bool group_per_row = false;    // else a group per KV head
    bool state_per_block = false;  // else a state per row and KV head
    bool some = false;             // rows read some of the blocks, else all
    bool masks = false;            // who reads what is said by masks, else by refs
  };

  // Backends may take the queries of bf16 caches rounded to bf16, as docs/nosa.md allows. Tests of anything else are
  // given queries that rounding leaves alone.
  enum class Queries { kRounded, kAsDrawn };

  explicit AttentionProblem(const AttentionShape& shape, Queries queries = Queries::kRounded)
      : shape_(shape),
        q_(DType::kF32, {shape.rows, shape.group * shape.kv_heads, shape.k_dim}, 1, 2.0f),
        k_(shape.dtype, {shape.kv_heads * shape.blocks(), shape.block, shape.k_dim}, 2),
        v_(shape.dtype, {shape.kv_heads * shape.blocks(), shape.block, shape.v_dim}, 3),
        s_(DType::kF32, {shape.kv_heads * shape.blocks(), shape.block}, 4, 2.0f) {
    for (int32_t r = 0; r < shape.rows; ++r) {
      // Both ends, block boundaries, and one row that sees nothing.
      const std::vector<int32_t> first = {shape.tokens - 1, 0, -1, shape.block - 1, shape.block, shape.tokens / 2};
      const int32_t p = r < 6 ? first[static_cast<size_t>(r)] : static_cast<int32_t>(r * 31 % shape.tokens);
      positions_.push_back(std::min(p, shape.tokens - 1));
    }
    if (shape.dtype == DType::kBF16 && queries == Queries::kRounded) {
      float* q = q_.buffer.as<float>();
      for (int64_t i = 0; i < q_.view.shape().elements(); ++i) q[i] = static_cast<float>(BFloat16(q[i]));
    }
    PoisonUnwritten();
  }

  OwnedStates MakeStates(const Cut& cut) const {
    const int64_t states =
        static_cast<int64_t>(shape_.rows) * shape_.kv_heads * (cut.state_per_block ? shape_.blocks() : 1);
    return OwnedStates(states, shape_.group, shape_.v_dim);
  }
  int32_t State(const Cut& cut, int32_t row, int32_t g, int32_t block) const {
    const int32_t pair = row * shape_.kv_heads + g;
    return cut.state_per_block ? pair * shape_.blocks() + block : pair;
  }

  void Attend(Backend& backend, const Cut& cut, PartialStates states) {
    std::vector<AttentionTile> tiles;
    std::vector<BlockAttentionArgs::Ref> refs;
    std::vector<int32_t> groups = {0};
    const int words = shape_.blocks() / 64 + 2;  // more than the blocks need
    std::vector<uint64_t> masks(cut.masks ? static_cast<size_t>(shape_.rows * shape_.kv_heads * words) : 0);
    for (int32_t g = 0; g < shape_.kv_heads; ++g) {
      const int32_t step = cut.group_per_row ? 1 : shape_.rows;
      for (int32_t row = 0; row < shape_.rows; row += step) {
        for (int32_t b = 0; b < shape_.blocks(); ++b) AddTiles(cut, g, b, row, row + step, tiles, refs);
        groups.push_back(static_cast<int32_t>(tiles.size()));
      }
    }
    for (int32_t i = 0; cut.masks && i < shape_.rows * shape_.kv_heads; ++i) {
      for (int32_t b = 0; b < shape_.blocks(); ++b) {
        if (Reads(cut, i / shape_.kv_heads, i % shape_.kv_heads, b))
          masks[static_cast<size_t>(i * words + b / 64)] |= uint64_t{1} << (b % 64);
      }
    }
    block_attention(backend, {},
                    {q_.view, positions_, tiles, refs, groups, states, shape_.dtype, shape_.block, Scale(), masks,
                     cut.masks ? words : 0});
  }

  TestVector<float> Merge(Backend& backend, const Cut& cut, PartialStates states) {
    std::vector<int32_t> offsets = {0}, order;
    for (int32_t r = 0; r < shape_.rows; ++r) {
      for (int32_t g = 0; g < shape_.kv_heads; ++g) {
        for (int32_t b = 0; b < (cut.state_per_block ? shape_.blocks() : 1); ++b) order.push_back(State(cut, r, g, b));
        offsets.push_back(static_cast<int32_t>(order.size()));
      }
    }
    TestVector<float> out(static_cast<size_t>(shape_.rows * shape_.group * shape_.kv_heads * shape_.v_dim), 3.0f);
    merge_states(backend, {},
                 {states, offsets, order, shape_.kv_heads,
                  TensorView(out.data(), DType::kF32, {shape_.rows, shape_.group * shape_.kv_heads, shape_.v_dim})});
    return out;
  }

  // A logit is a chain of D products; its absolute error is at most D eps sum |q k| scale, and |q| < 12, |k| < 6,
  // |s| < 12 for these draws. Weights turn by twice that; sums over the tokens and merges over the blocks add theirs.
  double LogitTolerance() const {
    const double dim = static_cast<double>(shape_.k_dim), eps = 0x1p-24;
    return (dim + 4) * eps * (12 * 6 * dim * static_cast<double>(Scale()) + 12);
  }
  double WeightTolerance() const {
    return 2 * LogitTolerance() + (shape_.tokens + 8.0 * shape_.blocks() + 8) * 0x1p-24;
  }
  double OutTolerance() const { return 2 * 6 * WeightTolerance(); }

  // What rounding a query to bf16 turns its logits by at most: each product by 2^-9 of itself.
  double RoundingOfLogits(int32_t row, int32_t head) const {
    const int64_t g = head / shape_.group, dim = shape_.k_dim;
    double most = 0;
    for (int32_t t = 0; t <= positions_[static_cast<size_t>(row)]; ++t) {
      double sum = 0;
      for (int64_t d = 0; d < dim; ++d) {
        const double q = q_.At((static_cast<int64_t>(row) * shape_.group * shape_.kv_heads + head) * dim + d);
        sum += std::abs(q * k_.At((g * shape_.blocks() * shape_.block + t) * dim + d));
      }
      most = std::max(most, sum);
    }
    return 0x1p-9 * most * static_cast<double>(Scale());
  }

 private:
  float Scale() const { return 1.0f / std::sqrt(static_cast<float>(shape_.k_dim)); }

  static bool Reads(const Cut& cut, int32_t row, int32_t g, int32_t b) {
    if (!cut.some) return true;
    // Of every eight rows the later four read little: whole runs of blocks that only the others read.
    return (row * 7 + g * 3 + b * 5) % 4 != 0 && (row / 4 % 2 == 0 || b % 9 == 0);
  }

  void AddTiles(const Cut& cut, int32_t g, int32_t b, int32_t row_begin, int32_t row_end,
                std::vector<AttentionTile>& tiles, std::vector<BlockAttentionArgs::Ref>& refs) const {
    const int64_t at = static_cast<int64_t>(g) * shape_.blocks() + b;
    AttentionTile tile{k_.view.row_bytes(at),
                       v_.view.row_bytes(at),
                       shape_.bias ? s_.view.row<float>(at) : nullptr,
                       g,
                       b * shape_.block,
                       std::min(shape_.block, shape_.tokens - b * shape_.block),
                       0,
                       0};
    for (int32_t row = row_begin; row < row_end;) {
      tile.ref_begin = static_cast<int32_t>(refs.size());
      const int32_t count = std::min(cut.refs_per_tile, row_end - row);
      if (cut.masks) {
        tile.ref_begin = row;
        tile.ref_count = count;
        row += count;
      } else {
        for (const int32_t end = row + count; row < end; ++row) {
          if (Reads(cut, row, g, b)) refs.push_back({row, State(cut, row, g, b)});
        }
        tile.ref_count = static_cast<int32_t>(refs.size()) - tile.ref_begin;
      }
      tiles.push_back(tile);
    }
  }

  // Slots that hold no token yet are NaN: nobody may look at them.
  void PoisonUnwritten() {
    const int32_t last = shape_.blocks() - 1, used = shape_.tokens - last * shape_.block;
    for (int32_t g = 0; g < shape_.kv_heads; ++g) {
      const int64_t at = static_cast<int64_t>(g) * shape_.blocks() + last;
      for (int64_t t = at * shape_.block + used; t < (at + 1) * shape_.block; ++t) {
        for (int64_t d = 0; d < shape_.k_dim; ++d)
          StoreFloat(k_.buffer.data(), shape_.dtype, static_cast<size_t>(t * shape_.k_dim + d), NAN);
        for (int64_t d = 0; d < shape_.v_dim; ++d)
          StoreFloat(v_.buffer.data(), shape_.dtype, static_cast<size_t>(t * shape_.v_dim + d), NAN);
        s_.buffer.as<float>()[t] = NAN;
      }
    }
  }

  AttentionShape shape_;
  RandomTensor q_, k_, v_, s_;
  std::vector<int32_t> positions_;
};

}  // namespace nosa::ops
