// Counts the words that a pre-tokenizer cuts texts into, on several threads and in bounded memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/parallel.h"
#include "text/pre_tokenizer.h"
#include "text/word_table.h"

namespace nosa::text {

// Bytes of the first part of `text` (well-formed UTF-8, not empty) when it is to be cut into parts of at most
// `max_bytes` (>= 8) that are pre-tokenized apart: all of a short text; else up to where the words of GPT-2 and of
// Llama 3 end in any case: behind the last line end, or else before the last blank, that stands between two characters
// other than white space. Without either the cut is between any two characters, perhaps in a word. O(max_bytes).
size_t PartBytes(std::string_view text, size_t max_bytes);

// Memory: a round of text (kRoundBytes), the words of one round on every thread, and one table of all words, which is
// held to `max_table_bytes` after each round: half of the rarest words are forgotten, and the others of them count
// double (WordTable::ThinOut), so that pairs of letters keep their counts on average. "The rarest" are those seen up to
// k times, with the smallest power of two k that takes a quarter off the bound. Rounds are cut by bytes of text: the
// counts depend on the texts and their order, not on threads.
class WordCounter {
 public:
  struct Stats {
    int64_t texts = 0;
    int64_t bytes = 0;
    int64_t words = 0;        // with repetitions
    int64_t thinned_out = 0;  // how many times, to hold the bound
  };
  // A word is cut after so many bytes: learning visits whole words, and a word of a megabyte would be visited a
  // megabyte long for each of thousands of merges.
  static constexpr size_t kMaxWordBytes = 4096;
  static constexpr size_t kRoundBytes = 32 << 20;

  // Borrows nothing. `threads` >= 1. `round_bytes` is for tests.
  WordCounter(PreTokenizer pre_tokenizer, uint64_t max_table_bytes, int threads, size_t round_bytes = kRoundBytes);

  // `text` is well-formed and copied; it is counted when a round is full. Words do not reach over texts.
  void Add(std::string_view text);
  // Counts what is pending, as a round that is not full.
  void CountPending();
  // Counts what is pending and gives the table away; the counter is empty after it.
  WordTable Finish();
  const Stats& stats() const { return stats_; }

 private:
  // What a thread counts with.
  struct Worker {
    WordTable table;
    TextArena arena;
    std::vector<std::string_view> words;
    int64_t count = 0;
  };
  void CountPart(std::string_view part, Worker* worker) const;
  int64_t RareUpTo(uint64_t bytes) const;
  void HoldBound();

  PreTokenizer pre_tokenizer_;
  uint64_t max_table_bytes_;
  size_t round_bytes_;
  ThreadPool pool_;
  std::vector<Worker> workers_;
  std::string round_;
  std::vector<size_t> part_ends_;  // in round_
  WordTable table_;
  Stats stats_;
};

}  // namespace nosa::text
