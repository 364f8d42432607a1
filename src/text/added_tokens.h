// Tokens that are found in the text before anything else happens to it, such as "</s>".
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace nosa::text {

struct AddedToken {
  TokenId id = -1;
  std::string content;
  bool special = false;
  bool single_word = false;  // only where no word character touches it
  bool lstrip = false;       // takes the whitespace before it along
  bool rstrip = false;       // and after it
  bool normalized = false;   // looked for in the normalized text, else in the text as it came
};

// A stretch of text, or the added token that stood there.
struct TextSegment {
  TokenId id = -1;        // -1: text
  std::string_view text;  // of text only
};

// Immutable, thread-safe.
class AddedTokenMatcher {
 public:
  AddedTokenMatcher() = default;
  // Tokens with empty content are ignored; of two with equal content the first counts.
  explicit AddedTokenMatcher(std::vector<AddedToken> tokens);

  // Appends the segments of `text` (well-formed) in order, no text empty. Leftmost match first, the
  // longest of those that start there. With `skip_special` a special token is text, though none inside it is
  // looked for, as in the reference. O(n) times the longest content, in practice one look per character.
  void Split(std::string_view text, bool skip_special, std::vector<TextSegment>* out) const;

 private:
  const AddedToken* LongestAt(std::string_view text) const;

  std::vector<AddedToken> tokens_;  // sorted by content
  bool starts_[256] = {};           // first bytes of contents
};

}  // namespace nosa::text
