// Trains a byte-level BPE tokenizer on texts: Hugging Face's `BpeTrainer` with the 256 bytes as alphabet, so the same
// texts and settings give the same vocabulary.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/function_ref.h"
#include "base/status.h"
#include "io/json.h"
#include "text/merge_learner.h"
#include "text/word_counter.h"

namespace nosa::text {

struct BpeTrainerOptions {
  int vocab_size = 8192;      // tokens in all: special ones, the 256 bytes, merged ones
  int64_t min_frequency = 2;  // a pair seen less often makes no token
  // Their ids are 0, 1, ... in this order. Text never makes them: neither when it is trained on nor as a merged token.
  std::vector<std::string> special_tokens = {"<s>", "</s>", "<pad>"};
  // How text is cut into words, over which no token reaches: "gpt2", "llama3", or a regular expression (the syntax of
  // tokenizer.json) whose matches are words, as is what stands between them.
  std::string pattern = "gpt2";
  int max_token_bytes = 0;  // 0: no limit
  // Of the table of distinct words; beyond it rare words are thinned out (WordCounter). Learning takes up to five times
  // as much. 256 MiB are over five million words; the 200 MB of code in docs/tokenizer.md have a tenth of that.
  uint64_t max_table_bytes = 256 * kMiB;
  int threads = 1;
};

struct TrainedBpe {
  std::vector<std::string> special_tokens;
  LearnedTokens learned;
  io::OrderedJson pre_tokenizer;  // of tokenizer.json

  int vocab_size() const { return static_cast<int>(learned.names.size()); }
  // What the longest merged tokens decode to, at most `count`, longest first, then lowest id.
  std::vector<std::string> LongestTokens(size_t count) const;
};

// Not thread-safe; uses threads of its own. The result depends on the texts, their order only where rare words had to
// be thinned out, and the options without `threads`.
class BpeTrainer {
 public:
  // What Create would refuse the options for. kInvalidArgument: vocab_size below the special tokens and 256 or above
  // the largest id, an empty special token, one that comes twice or is a byte's name, a wrong pattern, a negative or,
  // for threads, non-positive number.
  static Status Check(const BpeTrainerOptions& options);
  static Result<std::unique_ptr<BpeTrainer>> Create(const BpeTrainerOptions& options);

  // Counts the words of `text`, which is copied. kInvalidArgument with the place when it is not UTF-8; then none of it
  // is counted. Special tokens in it are text.
  Status Add(std::string_view text);

  // Counts what Add left for later, which Train does too: for who wants to time the two apart.
  void CountPending() { counter_.CountPending(); }

  // Learns the merges, once, after the last Add. Fewer tokens than asked for when no pair is left that is frequent
  // enough. `on_progress` gets the number of tokens so far; false ends with kCancelled.
  Result<TrainedBpe> Train(FunctionRef<bool(int tokens)> on_progress);

  const WordCounter::Stats& stats() const { return counter_.stats(); }
  // Known after Train.
  int64_t distinct_words() const { return distinct_words_; }

 private:
  BpeTrainer(const BpeTrainerOptions& options, io::OrderedJson pre_tokenizer, PreTokenizer cutter);

  BpeTrainerOptions options_;
  io::OrderedJson pre_tokenizer_;
  WordCounter counter_;
  int64_t distinct_words_ = 0;
};

// tokenizer.json, for this program and for Hugging Face's `tokenizers`: one line. Merges are texts "a b", which all
// versions of that library read.
std::string TokenizerJson(const TrainedBpe& tokenizer);

// Writes it whole or not at all; errors are io::WriteFileAtomically's.
Status WriteTokenizerJson(const TrainedBpe& tokenizer, const std::filesystem::path& file);

// Writes `directory`/tokenizer_config.json: the first special token begins a text, the second ends it, the third pads.
// Other fields of a file that is there (a chat template) are kept; one that is not a JSON object is an error.
Status WriteTokenizerConfig(const TrainedBpe& tokenizer, const std::filesystem::path& directory);

}  // namespace nosa::text
