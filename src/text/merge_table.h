// Which two neighbouring tokens become one, and which pair goes first. Immutable once built, thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "base/ids.h"

namespace nosa::text {

class MergeTable {
 public:
  static constexpr uint32_t kNoRank = UINT32_MAX;

  // Room for `merges` pairs, no more.
  explicit MergeTable(size_t merges = 0);

  // Pairs are added in rank order; a pair that comes again takes the later rank, as in the reference.
  void Add(TokenId left, TokenId right, TokenId merged);

  // kNoRank when the two do not merge. Expected O(1).
  uint32_t RankOf(TokenId left, TokenId right) const {
    const uint64_t key = Key(left, right);
    for (size_t i = Home(key);; i = (i + 1) & mask_) {
      if (slots_[i].key == key) return slots_[i].rank;
      if (slots_[i].key == kEmpty) return kNoRank;
    }
  }
  TokenId MergedAt(uint32_t rank) const { return merged_[rank]; }

 private:
  // Ids are not negative, so no pair has this key.
  static constexpr uint64_t kEmpty = UINT64_MAX;
  struct Slot {
    uint64_t key = kEmpty;
    uint32_t rank = kNoRank;
  };

  static uint64_t Key(TokenId left, TokenId right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  // Multiplicative hashing (Knuth, TAOCP 3, 6.4) with 2^64 / golden ratio; the high bits are the good ones.
  size_t Home(uint64_t key) const { return static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> 32) & mask_; }

  std::vector<Slot> slots_;
  std::vector<TokenId> merged_;
  size_t mask_ = 0;
};

}  // namespace nosa::text
