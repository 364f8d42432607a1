// The block summaries of one sequence: compressed keys and pooled importance of every window, in every layer and head.
#pragma once

#include <cstddef>
#include <vector>

#include "attention/config.h"
#include "base/bytes.h"
#include "kv/store.h"
#include "ops/pool_windows.h"

namespace nosa::attention {

// The layout of a sequence's side memory in the KV store: per lane, tiles of keys, then sigma, then the running sums.
// Plain arithmetic over a config and a length.
class SummaryLayout {
 public:
  SummaryLayout(const AttentionConfig& config, int max_tokens);

  size_t bytes() const { return lane_bytes_ * static_cast<size_t>(lanes_); }
  // Pointers into `side`, which has bytes() bytes.
  ops::WindowState State(MutableBytes side, int lane) const;
  int max_tokens() const { return max_tokens_; }

 private:
  int max_tokens_;
  int lanes_;
  bool has_importance_;
  size_t keys_bytes_, sigma_bytes_, lane_bytes_;
};

// What there is of the summaries of a sequence's first `tokens` tokens, from memory that one layout describes to memory
// that another does: both have room for them. On stream 0; the caller waits.
void CopySummaries(const AttentionConfig& config, int tokens, const SummaryLayout& from_layout, MutableBytes from,
                   const SummaryLayout& to_layout, MutableBytes to, ops::Backend& backend);

// What the tokens [first, end) add to the summaries of those before them, as bytes by themselves: the windows they
// complete and the running sums at `end`. Pieces loaded in order from 0 on, each up to where the next begins, make the
// summaries what they were.
class SummaryPiece {
 public:
  SummaryPiece(const AttentionConfig& config, int first, int end);
  size_t bytes() const { return lane_bytes_ * static_cast<size_t>(lanes_); }
  // From the memory `layout` describes, whose summaries are those of exactly `end` tokens, to bytes() bytes; and back,
  // where they are those of `first` tokens. On stream 0: both stay valid until it has passed.
  void Save(const SummaryLayout& layout, MutableBytes side, MutableBytes piece, ops::Backend& backend) const;
  void Load(const SummaryLayout& layout, ConstBytes piece, MutableBytes side, ops::Backend& backend) const;

 private:
  int end_, lanes_;
  bool has_importance_;
  size_t tile_begin_, tiles_;  // whole tiles: the first may hold windows of before, which are as they were
  size_t tile_bytes_, sigma_bytes_, carry_bytes_, lane_bytes_;
};

// After the sequence was cut to its present length: recomputes the running sums from the cached keys, so that what is
// appended next gives the windows it would have given. Windows already complete stay as they are.
// Fails as kv::BlockFetch::Next; the sequence is then to be cut to an earlier block boundary.
Status RestoreRunningSums(const AttentionConfig& config, kv::KvStore& store, SeqId seq, ops::Backend& backend);

}  // namespace nosa::attention
