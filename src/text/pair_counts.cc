#include "text/pair_counts.h"

#include <utility>

#include "base/check.h"

namespace nosa::text {
namespace {

constexpr size_t kFirstSlots = size_t{1} << 16;
// Arrivals between two merges are few beside those of the first count.
constexpr size_t kMostKept = size_t{1} << 20;

// The multiplier is 2^64 / golden ratio, as in MergeTable; the high bits are the good ones.
size_t HomeOf(uint64_t key, size_t mask) { return static_cast<size_t>((key * 0x9E3779B97F4A7C15u) >> 32) & mask; }

}  // namespace

uint32_t& PairCounts::SlotOf(TokenId left, TokenId right) {
  const size_t mask = slots_.size() - 1;
  for (size_t i = HomeOf(KeyOf(left, right), mask);; i = (i + 1) & mask) {
    if (slots_[i] == 0) return slots_[i];
    const Pair& pair = pairs_[slots_[i] - 1];
    if (pair.left == left && pair.right == right) return slots_[i];
  }
}

void PairCounts::Rehash(size_t slots) {
  slots_.assign(slots, 0);
  const size_t mask = slots - 1;
  for (size_t p = 0; p < pairs_.size(); ++p) {
    size_t i = HomeOf(KeyOf(pairs_[p].left, pairs_[p].right), mask);
    while (slots_[i] != 0) i = (i + 1) & mask;
    slots_[i] = static_cast<uint32_t>(p + 1);
  }
}

void PairCounts::Change(TokenId left, TokenId right, uint32_t word, int64_t by) {
  if (2 * (pairs_.size() + 1) > slots_.size()) Rehash(slots_.empty() ? kFirstSlots : 2 * slots_.size());
  uint32_t& slot = SlotOf(left, right);
  if (slot == 0) {
    if (by < 0) return;
    pairs_.push_back({.left = left, .right = right});
    slot = static_cast<uint32_t>(pairs_.size());
  }
  const uint32_t index = slot - 1;
  Pair& pair = pairs_[index];
  pair.count += by;
  if (by < 0 || pair.last_word == word) return;
  NOSA_CHECK(pair.begin == kUnfiled, "the pair {} {} grows again", left, right);
  if (pair.size == 0) grown_.push_back(index);
  ++pair.size;
  pair.last_word = word;
  arrivals_.push_back({index, word});
}

void PairCounts::Settle() {
  for (const uint32_t index : grown_) {
    Pair& pair = pairs_[index];
    pair.begin = words_.size();
    words_.resize(words_.size() + std::exchange(pair.size, 0));
    Offer(index);
  }
  for (const Arrival& arrival : arrivals_) {
    Pair& pair = pairs_[arrival.pair];
    words_[pair.begin + pair.size++] = arrival.word;
  }
  grown_.clear();
  arrivals_.clear();
  if (arrivals_.capacity() > kMostKept) arrivals_ = {};
}

void PairCounts::Offer(uint32_t index) {
  const Pair& pair = pairs_[index];
  if (!pair.closed && pair.count >= min_count_) queue_.push({pair.count, KeyOf(pair.left, pair.right), index});
}

std::optional<uint32_t> PairCounts::Pop() {
  while (!queue_.empty()) {
    const Candidate top = queue_.top();
    const Pair& pair = pairs_[top.pair];
    if (!pair.closed && pair.count == top.count) return top.pair;
    queue_.pop();
    Offer(top.pair);
  }
  return std::nullopt;
}

}  // namespace nosa::text
