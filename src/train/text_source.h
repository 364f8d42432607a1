// Text as sequences to learn from.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <vector>

#include "text/tokenizer.h"
#include "train/sequence_source.h"

namespace nosa::train {

// Tokens of many documents, one after the other, the last part held out.
struct TokenText {
  std::vector<int32_t> tokens;
  size_t learn = 0;  // tokens before this one are learnt from
  uint64_t fingerprint = 0;

  std::span<const int32_t> learnt() const { return std::span(tokens).first(learn); }
  std::span<const int32_t> held_out() const { return std::span(tokens).subspan(learn); }
};

struct TextOptions {
  std::vector<std::filesystem::path> sources;  // as tasks::ReadCorpus
  double held_out = 0.01;                      // of the tokens
  uint64_t seed = 0;                           // draws the order of documents, and so what is held out
  int threads = 1;
  // Where tokens are kept for the next run, by a fingerprint of tokenizer and texts; empty: nowhere.
  std::filesystem::path cache;
  std::function<void(int64_t done_bytes, int64_t all_bytes)> progress = nullptr;
};

// Documents in an order drawn by the seed, special tokens of their text read as plain text, an end token (the
// config's; none when it is negative) behind each. Fails as tasks::ReadCorpus. A cache that cannot be read is made
// anew; one that cannot be written is an error (a full disk).
Result<TokenText> TokenizeText(const text::Tokenizer& tokenizer, uint64_t tokenizer_fingerprint, TokenId end_token,
                               const TextOptions& options);

// Windows of the text: every `length + 1` tokens, in a new order and from a new first token each time the text has
// been gone through. Shares the text.
std::unique_ptr<const SequenceSource> MakeTextSource(std::shared_ptr<const TokenText> text, std::string name,
                                                     uint64_t seed);

// Position `i` of a permutation of [0, n) drawn by (seed, round): a pure function, O(1).
uint64_t Permuted(uint64_t i, uint64_t n, uint64_t seed, uint64_t round);

}  // namespace nosa::train
