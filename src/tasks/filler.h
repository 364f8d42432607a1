// The text that planted lines hide in, as tokens: so that an example costs no tokenisation of it.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <utility>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "text/tokenizer.h"

namespace nosa::tasks {

// Immutable, thread-safe. Lines can be put in where a line ends between two tokens: behind a token whose last byte is a
// line break (or a special token, which stands between documents), or before one whose first byte is (a line break and
// the next line's indentation are often one token).
class Filler {
 public:
  // `ids`: borrowed for as long as the filler is used, below 2^32. Lines that speak like a planted one are passed over
  // ever after, for they would answer a question, or contradict it. One pass over the text. kInvalidArgument: no token
  // left, ids outside the vocabulary (names the first).
  static Result<Filler> Make(std::shared_ptr<const text::Tokenizer> tokenizer, std::span<const TokenId> ids);

  const text::Tokenizer& tokenizer() const { return *tokenizer_; }
  // Of the text without what is passed over.
  int64_t tokens() const { return tokens_; }
  bool EndsLine(TokenId id) const { return (breaks_[static_cast<size_t>(id)] & kEnds) != 0; }
  bool BeginsWithBreak(TokenId id) const { return (breaks_[static_cast<size_t>(id)] & kBegins) != 0; }
  // "\n" alone.
  std::span<const TokenId> line_break() const { return line_break_; }
  // The next `n` tokens from behind a line break that `seed` draws; after the text's end its beginning follows. n at
  // most tokens(), so nothing comes twice.
  std::vector<TokenId> Draw(int n, uint64_t seed) const;

 private:
  static constexpr uint8_t kEnds = 1, kBegins = 2;

  Filler() = default;

  std::shared_ptr<const text::Tokenizer> tokenizer_;
  std::span<const TokenId> ids_;
  std::vector<TokenId> line_break_;
  std::vector<uint8_t> breaks_;                      // by token id: kEnds, kBegins
  std::vector<std::pair<size_t, size_t>> segments_;  // [begin, end) of ids that are used, rising; each ends a line
  std::vector<int64_t> before_;                      // tokens of all segments before this one
  int64_t tokens_ = 0;
};

}  // namespace nosa::tasks
