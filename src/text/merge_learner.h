// Learns byte-pair merges from counted words (Sennrich et al., 2016): the two neighbours seen most often become one
// token, again and again. Counts are kept up to date where a merge changed them; nothing is counted twice.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/function_ref.h"
#include "base/ids.h"
#include "base/status.h"
#include "text/pair_counts.h"
#include "text/word_table.h"

namespace nosa::text {

struct LearnedMerge {
  TokenId left = -1, right = -1;
  TokenId merged = -1;
  friend bool operator==(const LearnedMerge&, const LearnedMerge&) = default;
};

struct LearnOptions {
  size_t vocab_size = 0;       // tokens in all, where learning ends
  int64_t min_frequency = 0;   // a pair seen less often is not merged; at least 1 counts
  size_t max_token_bytes = 0;  // 0: no limit
};

// What has been learnt. Tokens are names in the byte-level alphabet (text/byte_level.h), by id.
struct LearnedTokens {
  std::vector<std::string> names;
  std::vector<LearnedMerge> merges;
};

// One call of Learn per object. Not thread-safe: one merge depends on the one before, and the parts of one are too
// short to share out.
class MergeLearner {
 public:
  // Takes `words` apart. Ids: first `special_tokens`, which no merge makes or uses, then the 256 bytes in the order of
  // their characters in the alphabet, then the merged tokens as they come: the order of Hugging Face's BpeTrainer.
  MergeLearner(WordTable words, const std::vector<std::string>& special_tokens, const LearnOptions& options);

  // Merges until there are vocab_size tokens, or no pair is left that is seen min_frequency times. Of pairs seen
  // equally often the one with the lower left id is first, then the one with the lower right id, so the result depends
  // on the counted words alone. `on_progress` gets the number of tokens; false ends with kCancelled.
  Result<LearnedTokens> Learn(FunctionRef<bool(size_t tokens)> on_progress);

 private:
  void AddAlphabet(const std::vector<std::string>& special_tokens);
  void AddWords(const WordTable& words);
  // The new token that `left` and `right` make; -1 when its name is a special token's.
  TokenId AddToken(TokenId left, TokenId right);
  void ApplyInWord(uint32_t word, const LearnedMerge& merge);
  void Change(TokenId left, TokenId right, uint32_t word, int64_t by);

  LearnOptions options_;
  LearnedTokens learned_;
  size_t specials_ = 0;
  std::vector<uint32_t> token_bytes_;  // by id
  std::unordered_map<std::string, TokenId> ids_;

  std::vector<TokenId> symbols_;  // of all words, one behind the other; each keeps its place and gets shorter
  std::vector<uint64_t> begins_;  // by word, in symbols_
  std::vector<uint32_t> sizes_;   // by word, in symbols
  std::vector<int64_t> counts_;   // by word
  PairCounts pairs_;
};

}  // namespace nosa::text
