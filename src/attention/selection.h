// Which blocks each query reads: plain data, one bit per block, that can be printed, compared and replayed.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <span>
#include <vector>

#include "base/check.h"

namespace nosa::attention {

// Bit b of Mask(row, g) says that query `row` reads block b of its sequence through KV head g. Ascending order is
// the order in which parts are merged. The bits lie in memory of its own, or in memory lent to Reset, which ops can
// write; a copy always has its own.
class Selection {
 public:
  Selection() = default;
  Selection(const Selection& other) { *this = other; }
  Selection& operator=(const Selection& other) {
    if (this == &other) return *this;
    rows_ = other.rows_;
    kv_heads_ = other.kv_heads_;
    words_ = other.words_;
    own_.assign(other.bits_.begin(), other.bits_.end());
    bits_ = own_;
    return *this;
  }

  // Words of all masks together.
  static size_t Words(int rows, int kv_heads, int blocks) {
    return static_cast<size_t>(rows) * static_cast<size_t>(kv_heads) * static_cast<size_t>((blocks + 63) / 64);
  }
  // All clear. `blocks`: the most any row may select from.
  void Reset(int rows, int kv_heads, int blocks) {
    own_.resize(Words(rows, kv_heads, blocks));
    Reset(rows, kv_heads, blocks, own_);
  }
  // The same in memory of the caller's, at least Words() of it, which stays valid until the next Reset.
  void Reset(int rows, int kv_heads, int blocks, std::span<uint64_t> memory) {
    rows_ = rows;
    kv_heads_ = kv_heads;
    words_ = (blocks + 63) / 64;
    NOSA_CHECK(memory.size() >= Words(rows, kv_heads, blocks), "{} words of masks do not fit {}",
               Words(rows, kv_heads, blocks), memory.size());
    bits_ = memory.first(Words(rows, kv_heads, blocks));
    std::fill(bits_.begin(), bits_.end(), 0);
  }

  int rows() const { return rows_; }
  int kv_heads() const { return kv_heads_; }
  int words() const { return words_; }
  std::span<uint64_t> Mask(int row, int g) { return bits_.subspan(Offset(row, g), static_cast<size_t>(words_)); }
  std::span<const uint64_t> Mask(int row, int g) const {
    return bits_.subspan(Offset(row, g), static_cast<size_t>(words_));
  }

 private:
  size_t Offset(int row, int g) const {
    return (static_cast<size_t>(row) * static_cast<size_t>(kv_heads_) + static_cast<size_t>(g)) *
           static_cast<size_t>(words_);
  }

  int rows_ = 0;
  int kv_heads_ = 0;
  int words_ = 0;
  std::span<uint64_t> bits_;
  std::vector<uint64_t> own_;
};

inline void SetBit(std::span<uint64_t> mask, int bit) {
  mask[static_cast<size_t>(bit / 64)] |= uint64_t{1} << (bit % 64);
}
// Bits [begin, end).
inline void SetBits(std::span<uint64_t> mask, int begin, int end) {
  for (int at = begin; at < end;) {
    const int low = at % 64, count = std::min(64 - low, end - at);
    const uint64_t ones = count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1;
    mask[static_cast<size_t>(at / 64)] |= ones << low;
    at += count;
  }
}
inline bool GetBit(std::span<const uint64_t> mask, int bit) {
  return (mask[static_cast<size_t>(bit / 64)] >> (bit % 64) & 1) != 0;
}

// Calls f(bit) for every set bit, ascending.
template <typename F>
void ForEachBit(std::span<const uint64_t> mask, F&& f) {
  for (size_t w = 0; w < mask.size(); ++w) {
    for (uint64_t bits = mask[w]; bits != 0; bits &= bits - 1) f(static_cast<int>(w * 64) + std::countr_zero(bits));
  }
}

inline int CountBits(std::span<const uint64_t> mask) {
  int n = 0;
  for (const uint64_t word : mask) n += std::popcount(word);
  return n;
}

}  // namespace nosa::attention
