// What a pattern that was found in a text does to it: "behavior" of the Split pre-tokenizer.
#pragma once

#include <span>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace nosa::text {

enum class SplitBehavior {
  kIsolated,            // each match is a piece
  kRemoved,             // matches are dropped
  kMergedWithPrevious,  // a match ends the piece before it
  kMergedWithNext,      // a match begins the piece behind it
  kContiguous,          // matches in a row are one piece
};

Result<SplitBehavior> ParseSplitBehavior(std::string_view name);

// Bytes [begin, end) of a text, a match of the pattern or what lies between two.
struct Stretch {
  size_t begin;
  size_t end;
  bool match;
};

// Appends the pieces of `text` without empty ones. `stretches` cover it in order and without gaps; matches may
// be empty.
void AppendPieces(std::string_view text, std::span<const Stretch> stretches, SplitBehavior behavior,
                  std::vector<std::string_view>* out);

}  // namespace nosa::text
