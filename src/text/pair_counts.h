// How often each pair of neighbouring tokens stands in the words of a corpus, in which words, and which pair is next to
// be merged. Part of merge_learner.h.
#pragma once

#include <cstdint>
#include <optional>
#include <queue>
#include <span>
#include <vector>

#include "base/ids.h"

namespace nosa::text {

// Not thread-safe.
class PairCounts {
 public:
  static constexpr uint64_t kUnfiled = UINT64_MAX;
  struct Pair {
    TokenId left = -1, right = -1;
    int64_t count = 0;                // places, each as often as its word was seen
    uint64_t begin = kUnfiled;        // of its words in words_
    uint32_t size = 0;                // how many they are
    uint32_t last_word = UINT32_MAX;  // the latest of them: a word is filed once however often it holds the pair
    bool closed = false;              // never offered again
  };

  // `min_count` >= 1: Pop leaves out rarer pairs.
  explicit PairCounts(int64_t min_count) : min_count_(min_count) {}

  // Room for so many increases before the next Settle: for the first one, which has by far the most.
  void Reserve(size_t increases) { arrivals_.reserve(increases); }

  // A change of the words: `word`, seen |by| times, holds the pair in one place more (by > 0) or less. A decrease of a
  // pair that was never increased is ignored: pairs nobody wants are left out by not increasing them. All increases of
  // a pair come before one and the same Settle: new places of a pair come with a new token of it. Expected O(1).
  void Change(TokenId left, TokenId right, uint32_t word, int64_t by);

  // Makes the changes since the last call visible to Pop and WordsOf.
  void Settle();

  // The pair seen most often, ties by lower left id, then lower right id; nothing when none is left. It comes again
  // unless Close follows.
  std::optional<uint32_t> Pop();
  // It was merged everywhere, or shall never be.
  void Close(uint32_t pair) { pairs_[pair].closed = true; }

  const Pair& operator[](uint32_t pair) const { return pairs_[pair]; }
  // Words that held the pair when it was settled. Valid until the next Settle.
  std::span<const uint32_t> WordsOf(uint32_t pair) const {
    return {words_.data() + pairs_[pair].begin, pairs_[pair].size};
  }

 private:
  struct Arrival {
    uint32_t pair, word;
  };
  struct Candidate {
    int64_t count;
    uint64_t key;
    uint32_t pair;
    bool operator<(const Candidate& other) const {
      return count != other.count ? count < other.count : key > other.key;
    }
  };
  static uint64_t KeyOf(TokenId left, TokenId right) {
    return static_cast<uint64_t>(static_cast<uint32_t>(left)) << 32 | static_cast<uint32_t>(right);
  }
  uint32_t& SlotOf(TokenId left, TokenId right);
  void Rehash(size_t slots);
  void Offer(uint32_t pair);

  int64_t min_count_;
  std::vector<Pair> pairs_;
  std::vector<uint32_t> slots_;    // 1 + index in pairs_; 0: free. A power of two, at most half full.
  std::vector<uint32_t> words_;    // filed words; a pair's are together
  std::vector<uint32_t> grown_;    // pairs increased since the last Settle
  std::vector<Arrival> arrivals_;  // and their words
  // Candidates with counts of the past: Pop compares and puts back, which is cheaper than finding them on each change.
  std::priority_queue<Candidate> queue_;
};

}  // namespace nosa::text
