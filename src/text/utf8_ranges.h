// Ranges of code points as ranges of bytes. Private to the text room.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "text/grammar_expr.h"

namespace nosa::text {

// Byte i of a character lies in element i, bounds included; 1 to 4 elements.
using ByteRanges = std::vector<std::pair<uint8_t, uint8_t>>;

// The well-formed UTF-8 of exactly the characters in `ranges` (normalized, without surrogates).
std::vector<ByteRanges> Utf8Ranges(const CodeRanges& ranges);

}  // namespace nosa::text
