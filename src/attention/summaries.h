// The block summaries of one sequence: compressed keys and pooled importance of every window, in every layer and head.
#pragma once

#include <array>
#include <cstddef>
#include <vector>

#include "attention/config.h"
#include "base/bytes.h"
#include "kv/store.h"
#include "ops/pool_windows.h"
#include "ops/seats.h"

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
// summaries what they were. Plain arithmetic.
struct SummaryPiece {
  SummaryPiece(const AttentionConfig& config, int first, int end);
  size_t bytes() const { return lane_bytes * static_cast<size_t>(lanes); }

  int end, lanes;
  // Whole tiles: the first may hold windows of before, which are as they were.
  size_t tile_begin, tiles;
  // Of one lane, multiples of 16: running sums, then keys, then sigma.
  size_t carry_bytes, keys_bytes, sigma_bytes, lane_bytes;
};

// Takes pieces out of summaries and puts them in, a few calls for all lanes. One caller thread.
class SummaryCopier {
 public:
  explicit SummaryCopier(ops::Backend* backend) : backend_(backend) {}
  // From `side`, which `layout` describes and whose summaries are those of exactly piece.end tokens, to piece.bytes()
  // bytes that the backend addresses; and back, to summaries of the tokens before the piece. On stream 0: all of it
  // stays valid until that has passed.
  void Save(const SummaryPiece& piece, const SummaryLayout& layout, MutableBytes side, MutableBytes bytes);
  void Load(const SummaryPiece& piece, const SummaryLayout& layout, ConstBytes bytes, MutableBytes side);

 private:
  struct List {
    Buffer memory;  // the count in its first 16 bytes, then ops::BlockCopy each: of sums, of keys, of sigma
    ops::Event done;
    bool used = false;
  };
  ops::BlockCopy* Begin(int lanes);
  void Run(const SummaryPiece& piece);

  ops::Backend* backend_;
  std::array<List, 2> lists_;  // one is filled while the other's copies are made
  size_t next_ = 0;
};

// After the sequence was cut to its present length: recomputes the running sums from the cached keys, so that what is
// appended next gives the windows it would have given. Windows already complete stay as they are.
// Fails as kv::BlockFetch::Next; the sequence is then to be cut to an earlier block boundary.
Status RestoreRunningSums(const AttentionConfig& config, kv::KvStore& store, SeqId seq, ops::Backend& backend);

}  // namespace nosa::attention
