#include "text/merge_learner.h"

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "text/byte_level.h"
#include "text/utf8.h"

namespace nosa::text {
namespace {

// Bytes in the order of their characters in the byte-level alphabet.
std::array<uint8_t, 256> BytesByCharacter() {
  std::array<char32_t, 256> character{};
  std::array<uint8_t, 256> bytes{};
  for (size_t b = 0; b < 256; ++b) {
    const char byte = static_cast<char>(b);
    character[b] = DecodeUtf8(ToByteLevel({&byte, 1})).code_point;
    bytes[b] = static_cast<uint8_t>(b);
  }
  std::sort(bytes.begin(), bytes.end(), [&](uint8_t a, uint8_t b) { return character[a] < character[b]; });
  return bytes;
}

}  // namespace

MergeLearner::MergeLearner(WordTable words, const std::vector<std::string>& special_tokens, const LearnOptions& options)
    : options_(options), pairs_(std::max<int64_t>(options.min_frequency, 1)) {
  AddAlphabet(special_tokens);
  AddWords(words);
  words = WordTable();  // its memory is free for what follows
  pairs_.Reserve(symbols_.size());
  for (uint32_t word = 0; word < counts_.size(); ++word) {
    const TokenId* symbols = symbols_.data() + begins_[word];
    for (uint32_t i = 0; i + 1 < sizes_[word]; ++i) Change(symbols[i], symbols[i + 1], word, counts_[word]);
  }
  pairs_.Settle();
}

void MergeLearner::AddAlphabet(const std::vector<std::string>& special_tokens) {
  specials_ = special_tokens.size();
  learned_.names = special_tokens;
  token_bytes_.assign(specials_, 0);
  for (const uint8_t b : BytesByCharacter()) {
    const char byte = static_cast<char>(b);
    learned_.names.push_back(ToByteLevel({&byte, 1}));
    token_bytes_.push_back(1);
  }
  for (size_t id = 0; id < learned_.names.size(); ++id) ids_.emplace(learned_.names[id], static_cast<TokenId>(id));
}

void MergeLearner::AddWords(const WordTable& words) {
  std::array<TokenId, 256> id_of{};
  const std::array<uint8_t, 256> bytes = BytesByCharacter();
  for (size_t i = 0; i < bytes.size(); ++i) id_of[bytes[i]] = static_cast<TokenId>(specials_ + i);
  symbols_.reserve(words.text_bytes());
  begins_.reserve(words.size());
  sizes_.reserve(words.size());
  counts_.reserve(words.size());
  words.ForEach([&](std::string_view word, int64_t count) {
    begins_.push_back(symbols_.size());
    sizes_.push_back(static_cast<uint32_t>(word.size()));
    counts_.push_back(count);
    for (const char byte : word) symbols_.push_back(id_of[static_cast<uint8_t>(byte)]);
  });
}

void MergeLearner::Change(TokenId left, TokenId right, uint32_t word, int64_t by) {
  const size_t bytes = token_bytes_[static_cast<size_t>(left)] + token_bytes_[static_cast<size_t>(right)];
  if (options_.max_token_bytes == 0 || bytes <= options_.max_token_bytes) pairs_.Change(left, right, word, by);
}

// A merged token is always new. Which merges happen between two places of a word depends only on the bytes between
// them, as long as no merge crossed these places: left and right neighbours decide nothing, and of overlapping pairs
// the leftmost goes first, counted from a place that was not crossed. So bytes that once became one token become that
// token wherever they are not cut up, and no later merge finds them in two halves.
TokenId MergeLearner::AddToken(TokenId left, TokenId right) {
  const auto l = static_cast<size_t>(left), r = static_cast<size_t>(right);
  const auto [place, is_new] =
      ids_.emplace(learned_.names[l] + learned_.names[r], static_cast<TokenId>(learned_.names.size()));
  if (!is_new) {
    NOSA_CHECK(static_cast<size_t>(place->second) < specials_, "\"{}\" was merged twice", place->first);
    return -1;
  }
  learned_.names.push_back(place->first);
  token_bytes_.push_back(token_bytes_[l] + token_bytes_[r]);
  return place->second;
}

void MergeLearner::ApplyInWord(uint32_t word, const LearnedMerge& merge) {
  TokenId* symbols = symbols_.data() + begins_[word];
  const uint32_t size = sizes_[word];
  const int64_t count = counts_[word];
  uint32_t out = 0;
  for (uint32_t i = 0; i < size; ++i) {
    if (symbols[i] != merge.left || i + 1 == size || symbols[i + 1] != merge.right) {
      symbols[out++] = symbols[i];
      continue;
    }
    if (out > 0) {
      Change(symbols[out - 1], merge.left, word, -count);
      Change(symbols[out - 1], merge.merged, word, count);
    }
    ++i;
    if (i + 1 < size) {
      Change(merge.right, symbols[i + 1], word, -count);
      Change(merge.merged, symbols[i + 1], word, count);
    }
    symbols[out++] = merge.merged;
  }
  sizes_[word] = out;
}

Result<LearnedTokens> MergeLearner::Learn(FunctionRef<bool(size_t tokens)> on_progress) {
  while (learned_.names.size() < options_.vocab_size) {
    const std::optional<uint32_t> pair = pairs_.Pop();
    if (!pair) break;
    pairs_.Close(*pair);
    LearnedMerge merge = {.left = pairs_[*pair].left, .right = pairs_[*pair].right};
    merge.merged = AddToken(merge.left, merge.right);
    if (merge.merged < 0) continue;
    learned_.merges.push_back(merge);
    for (const uint32_t word : pairs_.WordsOf(*pair)) ApplyInWord(word, merge);
    pairs_.Settle();
    if (!on_progress(learned_.names.size())) return Cancelled("stopped at {} tokens", learned_.names.size());
  }
  return std::move(learned_);
}

}  // namespace nosa::text
