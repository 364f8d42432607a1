#include "text/merge_table.h"

#include <bit>

#include "base/check.h"

namespace nosa::text {

// At most half full, so that a search always meets an empty slot, and soon.
MergeTable::MergeTable(size_t merges) : slots_(std::bit_ceil(2 * merges + 1)), mask_(slots_.size() - 1) {
  merged_.reserve(merges);
}

void MergeTable::Add(TokenId left, TokenId right, TokenId merged) {
  NOSA_CHECK(2 * merged_.size() < slots_.size(), "a table made for fewer than {} merges", merged_.size() + 1);
  const uint64_t key = Key(left, right);
  size_t i = Home(key);
  while (slots_[i].key != kEmpty && slots_[i].key != key) i = (i + 1) & mask_;
  slots_[i] = {key, static_cast<uint32_t>(merged_.size())};
  merged_.push_back(merged);
}

}  // namespace nosa::text
