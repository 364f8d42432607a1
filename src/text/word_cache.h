// The words of one text that were encoded already. Keys are views of the text and values are places in the
// output, so it holds no copies; it lives for one call, so threads share nothing.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/ids.h"

namespace nosa::text {

class WordCache {
 public:
  // Bounded: one slot per 16 bytes of text, at most 2^14 (a text has few distinct words that matter), none
  // for texts so short that making the table costs more than it saves. A newer word evicts an older one.
  explicit WordCache(size_t text_bytes);

  // Appends the ids of `word` to `out` if it was noted.
  bool Append(std::string_view word, std::vector<TokenId>* out);
  // `word`, just refused by Append, became what `out` holds from `begin` on. `word` must outlive the cache,
  // and `out` must only grow.
  void Note(std::string_view word, size_t begin, const std::vector<TokenId>& out);

 private:
  struct Slot {
    const char* data = nullptr;
    uint32_t bytes = 0;  // 0: free
    uint32_t count = 0;
    size_t begin = 0;
  };
  Slot* SlotOf(std::string_view word);

  std::vector<Slot> slots_;
};

}  // namespace nosa::text
