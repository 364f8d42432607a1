#include "text/utf8.h"

#include <cstring>

namespace nosa::text {
namespace {

// What may follow a lead byte: how many bytes in all, and the range of the second one (the rest are 80..BF).
struct Lead {
  uint8_t length;  // 0: not a lead byte
  uint8_t second_low;
  uint8_t second_high;
};

Lead LeadOf(uint8_t byte) {
  if (byte < 0xC2) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};  // shorter forms exist
  if (byte == 0xED) return {3, 0x80, 0x9F};  // surrogates
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte < 0xF4) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};  // beyond U+10FFFF
  return {0, 0, 0};
}

// Bytes at the start of `text` that are ASCII, eight at a time.
size_t AsciiPrefix(std::string_view text) {
  size_t i = 0;
  for (uint64_t word; i + sizeof(word) <= text.size(); i += sizeof(word)) {
    std::memcpy(&word, text.data() + i, sizeof(word));
    if (word & 0x8080808080808080u) break;
  }
  while (i < text.size() && static_cast<uint8_t>(text[i]) < 0x80) ++i;
  return i;
}

}  // namespace

Utf8Step DecodeUtf8(std::string_view text) {
  const auto first = static_cast<uint8_t>(text[0]);
  if (first < 0x80) return {.code_point = first, .bytes = 1, .ok = true};
  const Lead lead = LeadOf(first);
  if (lead.length == 0) return {.code_point = 0xFFFD, .bytes = 1};
  char32_t code_point = first & (0x7Fu >> lead.length);
  for (uint8_t i = 1; i < lead.length; ++i) {
    if (i == text.size()) return {.code_point = 0xFFFD, .bytes = i, .cut_short = true};
    const auto byte = static_cast<uint8_t>(text[i]);
    const uint8_t low = i == 1 ? lead.second_low : 0x80;
    const uint8_t high = i == 1 ? lead.second_high : 0xBF;
    if (byte < low || byte > high) return {.code_point = 0xFFFD, .bytes = i};
    code_point = (code_point << 6) | (byte & 0x3Fu);
  }
  return {.code_point = code_point, .bytes = lead.length, .ok = true};
}

size_t LastCharacterStart(std::string_view text) {
  size_t i = text.size() - 1;
  while (i > 0 && (static_cast<uint8_t>(text[i]) & 0xC0) == 0x80) --i;
  return i;
}

void AppendUtf8(char32_t c, std::string* out) {
  if (c < 0x80) {
    out->push_back(static_cast<char>(c));
    return;
  }
  if (c < 0x800) {
    out->push_back(static_cast<char>(0xC0 | (c >> 6)));
  } else {
    if (c < 0x10000) {
      out->push_back(static_cast<char>(0xE0 | (c >> 12)));
    } else {
      out->push_back(static_cast<char>(0xF0 | (c >> 18)));
      out->push_back(static_cast<char>(0x80 | ((c >> 12) & 0x3F)));
    }
    out->push_back(static_cast<char>(0x80 | ((c >> 6) & 0x3F)));
  }
  out->push_back(static_cast<char>(0x80 | (c & 0x3F)));
}

bool IsWellFormedUtf8(std::string_view text) {
  for (size_t i = AsciiPrefix(text); i < text.size(); i += AsciiPrefix(text.substr(i))) {
    const Utf8Step step = DecodeUtf8(text.substr(i));
    if (!step.ok) return false;
    i += step.bytes;
  }
  return true;
}

size_t AppendWellFormed(std::string_view text, bool more_follows, std::string* out) {
  size_t i = 0;
  while (i < text.size()) {
    const size_t ascii = AsciiPrefix(text.substr(i));
    out->append(text.substr(i, ascii));
    i += ascii;
    if (i == text.size()) break;
    const Utf8Step step = DecodeUtf8(text.substr(i));
    if (step.cut_short && more_follows) break;
    out->append(step.ok ? text.substr(i, step.bytes) : kReplacementCharacter);
    i += step.bytes;
  }
  return i;
}

}  // namespace nosa::text
