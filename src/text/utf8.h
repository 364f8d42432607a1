// UTF-8 as the Unicode standard defines it (table 3-7), and U+FFFD for what is not UTF-8.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace nosa::text {

inline constexpr std::string_view kReplacementCharacter = "\xEF\xBF\xBD";

struct Utf8Step {
  char32_t code_point = 0;  // U+FFFD when not ok
  uint8_t bytes = 0;        // length of the character, or of the ill-formed part that one U+FFFD stands for
  bool ok = false;
  bool cut_short = false;  // not ok only because the text ended: more bytes could make it a character
};

// Reads the start of `text`, which must not be empty. The ill-formed part is the "maximal subpart" of the
// standard's section 3.9, which is also what Python's errors="replace" takes. O(1).
Utf8Step DecodeUtf8(std::string_view text);

// First byte of the last character of `text`, well-formed and not empty. O(1).
size_t LastCharacterStart(std::string_view text);

void AppendUtf8(char32_t code_point, std::string* out);

bool IsWellFormedUtf8(std::string_view text);

// Appends `text` to `out` with each ill-formed part as U+FFFD; returns how many bytes were taken: all of
// them, except, when `more_follows`, the start of a character at the end. O(n).
size_t AppendWellFormed(std::string_view text, bool more_follows, std::string* out);

}  // namespace nosa::text
