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

// After the sequence was cut to its present length: recomputes the running sums from the cached keys, so that what is
// appended next gives the windows it would have given. Windows already complete stay as they are.
// Fails as kv::BlockFetch::Next; the sequence is then to be cut to an earlier block boundary.
Status RestoreRunningSums(const AttentionConfig& config, kv::KvStore& store, SeqId seq, ops::Backend& backend);

}  // namespace nosa::attention
