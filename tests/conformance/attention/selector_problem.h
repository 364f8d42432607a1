// Random inputs for block selectors: queries at chosen positions of several sequences, and the summaries they see.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "attention/selector.h"
#include "base/rng.h"
#include "tensor/buffer.h"

namespace nosa::attention {

// Consecutive queries of one sequence.
struct QueryRange {
  int first_pos = 0;
  int rows = 0;
};

// Everything a SelectInput borrows. Windows that no query sees yet hold NaN: whoever reads them is seen.
class SelectorProblem {
 public:
  // `coarse`: importance in steps of 1/4, so that many blocks tie.
  SelectorProblem(const AttentionConfig& config, std::vector<QueryRange> ranges, uint64_t seed, bool coarse = false)
      : config_(config), rng_(seed, 77) {
    int rows = 0;
    for (const QueryRange& range : ranges) rows += range.rows;
    q_.resize(static_cast<size_t>(rows) * static_cast<size_t>(config.heads * config.head_dim));
    // Window logits of spread 2: scores differ by much, as those of trained models do.
    for (float& x : q_) x = 2 * Normal();
    for (const QueryRange& range : ranges) AddSequence(range, coarse);
    for (size_t i = 0; i < keys_.size(); ++i) {
      states_.push_back({keys_[i].data(), config.has_importance ? sigma_[i].data() : nullptr, nullptr});
    }
  }

  int rows() const { return static_cast<int>(positions_.size()); }
  int position(int row) const { return positions_[static_cast<size_t>(row)]; }
  int blocks() const {
    int last = 0;
    for (const int32_t pos : positions_) last = std::max(last, pos);
    return last / config_.block_size + 1;
  }

  // Rows [begin, begin + count) of the problem; the states are those of all.
  SelectInput Input(ops::Backend* backend, int begin, int count) {
    const int64_t heads = config_.heads, dim = config_.head_dim;
    const size_t first = static_cast<size_t>(begin), n = static_cast<size_t>(count);
    return {.backend = backend,
            .stream = {},
            .scratch = &scratch_,
            .q = TensorView(q_.data() + static_cast<int64_t>(begin) * heads * dim, DType::kF32, {count, heads, dim}),
            .positions = std::span(positions_).subspan(first, n),
            .state_begin = std::span(state_begin_).subspan(first, n),
            .states = states_};
  }

  Selection Run(const BlockSelector& selector, ops::Backend* backend, int begin, int count) {
    Selection selection;
    selection.Reset(count, config_.kv_heads, blocks());
    scratch_ = SelectScratch();  // another backend's memory
    selector.Select(Input(backend, begin, count), &selection);
    return selection;
  }
  Selection Run(const BlockSelector& selector, ops::Backend* backend) { return Run(selector, backend, 0, rows()); }

  // What the queries of one row and KV head see, as doubles.
  std::vector<double> Query(int row, int g) const {
    const size_t n = static_cast<size_t>(config_.group() * config_.head_dim);
    const float* from =
        q_.data() + (static_cast<size_t>(row) * static_cast<size_t>(config_.kv_heads) + static_cast<size_t>(g)) * n;
    return {from, from + n};
  }
  std::vector<double> Keys(int row, int g) const {  // [windows, D]
    const std::vector<float>& tiles = keys_[StateOf(row, g)];
    const int dim = config_.head_dim, windows = config_.WindowsOf(position(row) + 1);
    std::vector<double> keys;
    for (int w = 0; w < windows; ++w) {
      for (int i = 0; i < dim; ++i) keys.push_back(tiles[TileIndex(w, i)]);
    }
    return keys;
  }
  std::vector<double> Sigma(int row, int g) const {
    const std::vector<float>& sigma = sigma_[StateOf(row, g)];
    return {sigma.begin(), sigma.begin() + config_.WindowsOf(position(row) + 1)};
  }

 private:
  float Normal() { return rng_.Normal(counter_++); }
  size_t StateOf(int row, int g) const { return static_cast<size_t>(state_begin_[static_cast<size_t>(row)] + g); }
  size_t TileIndex(int window, int channel) const {
    return static_cast<size_t>((window / ops::kWindowTile * config_.head_dim + channel) * ops::kWindowTile +
                               window % ops::kWindowTile);
  }

  void AddSequence(const QueryRange& range, bool coarse) {
    const int windows = config_.WindowsOf(range.first_pos + range.rows);
    const size_t tiles = static_cast<size_t>(windows / ops::kWindowTile + 1);
    for (int i = 0; i < range.rows; ++i) {
      positions_.push_back(range.first_pos + i);
      state_begin_.push_back(static_cast<int32_t>(keys_.size()));
    }
    for (int g = 0; g < config_.kv_heads; ++g) {
      std::vector<float>& keys =
          keys_.emplace_back(tiles * static_cast<size_t>(config_.head_dim * ops::kWindowTile), NAN);
      std::vector<float>& sigma = sigma_.emplace_back(static_cast<size_t>(windows) + 1, NAN);
      for (int w = 0; w < windows; ++w) {
        for (int i = 0; i < config_.head_dim; ++i) keys[TileIndex(w, i)] = Normal();
        const float s = std::abs(Normal());  // A times a softplus: not negative
        sigma[static_cast<size_t>(w)] = coarse ? std::round(4 * s) / 4 : s;
      }
    }
  }

  AttentionConfig config_;
  Philox rng_;
  uint64_t counter_ = 0;
  std::vector<float> q_;
  std::vector<int32_t> positions_, state_begin_;
  std::vector<std::vector<float>> keys_, sigma_;  // by state
  std::vector<ops::WindowState> states_;
  SelectScratch scratch_;
};

// The shipped shape, smaller and odder ones: windows of one, two and three strides, more than 64 blocks, k = the forced
// blocks and the query's and no more.
inline std::vector<AttentionConfig> SelectorConfigs() {
  const auto make = [](int heads, int kv_heads, int dim) {
    AttentionConfig config;
    config.layers = 1;
    config.heads = heads;
    config.kv_heads = kv_heads;
    config.head_dim = dim;
    config.has_importance = true;
    return config;
  };
  const auto sparse = [](AttentionConfig config, std::array<int, 3> windows, std::array<int, 4> blocks) {
    config.block_size = windows[0];
    config.kernel_size = windows[1];
    config.kernel_stride = windows[2];
    config.init_blocks = blocks[0];
    config.local_blocks = blocks[1];
    config.query_topk = blocks[2];
    config.topk = blocks[3];
    return config;
  };
  return {sparse(make(8, 2, 64), {64, 32, 16}, {1, 4, 8, 32}), sparse(make(4, 1, 32), {16, 8, 4}, {1, 2, 5, 12}),
          sparse(make(6, 2, 10), {8, 4, 2}, {2, 1, 3, 9}), sparse(make(2, 2, 7), {12, 18, 6}, {1, 1, 4, 7}),
          sparse(make(3, 1, 8), {4, 4, 4}, {3, 2, 1, 6})};
}

// First tokens, both sides of block and window ends, and far enough for k to leave blocks out.
inline std::vector<QueryRange> SelectorRanges(const AttentionConfig& c) {
  const int far = c.block_size * (3 * c.topk);
  return {{0, 1},       {0, c.block_size + 2},        {c.kernel_size - 2, 3},
          {far - 1, 2}, {far + c.block_size / 2, 40}, {2 * far + 3, 1}};
}

inline std::string Text(const AttentionConfig& c) {
  return fmt::format("block {} windows {}/{} k {}+{}+{} of {}, heads {}/{} x {}", c.block_size, c.kernel_size,
                     c.kernel_stride, c.init_blocks, c.local_blocks, c.query_topk, c.topk, c.heads, c.kv_heads,
                     c.head_dim);
}

inline std::vector<int> Blocks(const Selection& selection, int row, int g) {
  std::vector<int> blocks;
  ForEachBit(selection.Mask(row, g), [&](int b) { blocks.push_back(b); });
  return blocks;
}

}  // namespace nosa::attention
