// Words and how often each was seen: a hash table whose memory is known to the byte, because it is what bounds the
// counting of a large corpus.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/function_ref.h"

namespace nosa::text {

// Not thread-safe. What it holds depends on what was added alone, not on the order.
class WordTable {
 public:
  // `word` is copied, at most 2^32 - 1 bytes; `count` >= 0. Expected O(bytes of the word).
  void Add(std::string_view word, int64_t count);
  void Add(const WordTable& other);

  // In the order they were first added. The views live until the table changes.
  void ForEach(FunctionRef<void(std::string_view word, int64_t count)> visit) const;

  // Distinct words.
  size_t size() const { return entries_.size(); }
  // Of all distinct words together.
  size_t text_bytes() const { return text_.size(); }
  // What `words` words of `text_bytes` bytes together take; allocations may hold up to twice as much.
  static constexpr uint64_t BytesOf(uint64_t words, uint64_t text_bytes) {
    return words * (sizeof(Entry) + 2 * sizeof(uint32_t)) + text_bytes;
  }
  uint64_t bytes() const { return BytesOf(entries_.size(), text_.size()); }

  // Of the words seen at most `count` times, forgets about half, drawn by `seed` and the word, and lets each of the
  // others count double, so that sums over all words stay what they were on average. Frees memory. O(all).
  void ThinOut(int64_t count, uint64_t seed);
  void Clear();

 private:
  struct Entry {
    uint64_t begin;  // in text_
    int64_t count;
    uint32_t size;
    uint32_t hash;
  };
  std::string_view TextOf(const Entry& entry) const { return std::string_view(text_).substr(entry.begin, entry.size); }
  // The slot that holds the word, or the free one where it belongs.
  uint32_t& SlotOf(std::string_view word, uint32_t hash);
  void Rehash(size_t slots);

  std::string text_;  // of all words, one behind the other
  std::vector<Entry> entries_;
  std::vector<uint32_t> slots_;  // 1 + index in entries_; 0: free. A power of two, at most half full.
};

}  // namespace nosa::text
