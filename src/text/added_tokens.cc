#include "text/added_tokens.h"

#include <algorithm>
#include <cstdint>

#include "text/unicode.h"
#include "text/utf8.h"

namespace nosa::text {
namespace {

bool EndsInWord(std::string_view text) {
  return !text.empty() && IsWordCharacter(DecodeUtf8(text.substr(LastCharacterStart(text))).code_point);
}

bool StartsWithWord(std::string_view text) { return !text.empty() && IsWordCharacter(DecodeUtf8(text).code_point); }

// Where the whitespace at the end of `text` begins, but not before `floor`: what is before belongs to the last
// match, and looking at it again and again would make long runs of whitespace cost their square.
size_t TrailingSpaceStart(std::string_view text, size_t floor) {
  while (text.size() > floor) {
    const size_t start = LastCharacterStart(text);
    if (!IsWhitespace(DecodeUtf8(text.substr(start)).code_point)) break;
    text = text.substr(0, start);
  }
  return text.size();
}

size_t LeadingSpaceBytes(std::string_view text) {
  size_t bytes = 0;
  while (bytes < text.size()) {
    const Utf8Step step = DecodeUtf8(text.substr(bytes));
    if (!IsWhitespace(step.code_point)) break;
    bytes += step.bytes;
  }
  return bytes;
}

}  // namespace

AddedTokenMatcher::AddedTokenMatcher(std::vector<AddedToken> tokens) : tokens_(std::move(tokens)) {
  std::erase_if(tokens_, [](const AddedToken& t) { return t.content.empty(); });
  std::stable_sort(tokens_.begin(), tokens_.end(),
                   [](const AddedToken& a, const AddedToken& b) { return a.content < b.content; });
  const auto same = [](const AddedToken& a, const AddedToken& b) { return a.content == b.content; };
  tokens_.erase(std::unique(tokens_.begin(), tokens_.end(), same), tokens_.end());
  for (const AddedToken& t : tokens_) starts_[static_cast<uint8_t>(t.content[0])] = true;
}

// Narrows the range of tokens that share the first bytes with the text, one byte at a time: a walk down the
// trie that a sorted list is. A token that ends at this depth sorts first in its range.
const AddedToken* AddedTokenMatcher::LongestAt(std::string_view text) const {
  const AddedToken* longest = nullptr;
  auto low = tokens_.begin();
  auto high = tokens_.end();
  for (size_t depth = 0; low != high; ++depth) {
    if (low->content.size() == depth && depth > 0) longest = &*low++;
    if (depth == text.size()) break;
    const auto byte = static_cast<uint8_t>(text[depth]);
    const auto at = [depth](const AddedToken& t) { return static_cast<uint8_t>(t.content[depth]); };
    low = std::partition_point(low, high, [&](const AddedToken& t) { return at(t) < byte; });
    high = std::partition_point(low, high, [&](const AddedToken& t) { return at(t) == byte; });
  }
  return longest;
}

void AddedTokenMatcher::Split(std::string_view text, bool skip_special, std::vector<TextSegment>* out) const {
  size_t done = 0;  // all before is in `out`
  const auto text_until = [&](size_t end) {
    if (done < end) out->push_back({-1, text.substr(done, end - done)});
  };
  size_t next = 0;
  size_t space_end = 0;  // of the whitespace behind the last token with rstrip; a later token inside it stops there too
  while (!tokens_.empty() && next < text.size()) {
    const AddedToken* token = starts_[static_cast<uint8_t>(text[next])] ? LongestAt(text.substr(next)) : nullptr;
    if (token == nullptr) {
      ++next;
      continue;
    }
    size_t begin = next;
    size_t end = next + token->content.size();
    next = end;
    if (skip_special && token->special) continue;
    if (token->single_word && (EndsInWord(text.substr(0, begin)) || StartsWithWord(text.substr(end)))) continue;
    if (token->lstrip) begin = std::max(done, TrailingSpaceStart(text.substr(0, begin), done));
    if (token->rstrip) {
      if (end > space_end) space_end = end + LeadingSpaceBytes(text.substr(end));
      end = space_end;
    }
    text_until(begin);
    out->push_back({token->id, {}});
    done = end;
  }
  text_until(text.size());
}

}  // namespace nosa::text
