// Which blocks each query reads: plain data, one bit per block, that can be printed, compared and replayed.
#pragma once

#include <bit>
#include <cstdint>
#include <span>
#include <vector>

namespace nosa::attention {

// Bit b of Mask(row, g) says that query `row` reads block b of its sequence through KV head g. Ascending order is
// the order in which parts are merged.
class Selection {
 public:
  // All clear. `blocks`: the most any row may select from.
  void Reset(int rows, int kv_heads, int blocks) {
    rows_ = rows;
    kv_heads_ = kv_heads;
    words_ = (blocks + 63) / 64;
    bits_.assign(static_cast<size_t>(rows) * static_cast<size_t>(kv_heads) * static_cast<size_t>(words_), 0);
  }

  int rows() const { return rows_; }
  int kv_heads() const { return kv_heads_; }
  int words() const { return words_; }
  std::span<uint64_t> Mask(int row, int g) { return {bits_.data() + Offset(row, g), static_cast<size_t>(words_)}; }
  std::span<const uint64_t> Mask(int row, int g) const {
    return {bits_.data() + Offset(row, g), static_cast<size_t>(words_)};
  }

 private:
  size_t Offset(int row, int g) const {
    return (static_cast<size_t>(row) * static_cast<size_t>(kv_heads_) + static_cast<size_t>(g)) *
           static_cast<size_t>(words_);
  }

  int rows_ = 0;
  int kv_heads_ = 0;
  int words_ = 0;
  std::vector<uint64_t> bits_;
};

inline void SetBit(std::span<uint64_t> mask, int bit) {
  mask[static_cast<size_t>(bit / 64)] |= uint64_t{1} << (bit % 64);
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
