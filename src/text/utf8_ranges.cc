#include "text/utf8_ranges.h"

#include <algorithm>
#include <array>
#include <string>

#include "text/utf8.h"

namespace nosa::text {
namespace {

// Last code points of one, two, three and four bytes.
constexpr std::array<char32_t, 4> kLastOfLength = {0x7F, 0x7FF, 0xFFFF, 0x10FFFF};

// [first, last] have the same length. Cut until all bytes after the first that differs span their whole range.
void Split(char32_t first, char32_t last, std::vector<ByteRanges>* out) {
  for (int bits = 6; bits <= 18; bits += 6) {
    const char32_t mask = (char32_t{1} << bits) - 1;
    if ((first & ~mask) == (last & ~mask)) break;
    if ((first & mask) != 0) {
      Split(first, first | mask, out);
      return Split((first | mask) + 1, last, out);
    }
    if ((last & mask) != mask) {
      Split(first, (last & ~mask) - 1, out);
      return Split(last & ~mask, last, out);
    }
  }
  std::string a, b;
  AppendUtf8(first, &a);
  AppendUtf8(last, &b);
  ByteRanges& bytes = out->emplace_back();
  for (size_t i = 0; i < a.size(); ++i) bytes.emplace_back(static_cast<uint8_t>(a[i]), static_cast<uint8_t>(b[i]));
}

}  // namespace

std::vector<ByteRanges> Utf8Ranges(const CodeRanges& ranges) {
  std::vector<ByteRanges> out;
  for (const auto& [first, last] : ranges) {
    char32_t from = first;
    for (const char32_t end : kLastOfLength) {
      if (from > last || from > end) continue;
      const char32_t to = std::min(last, end);
      if (to <= 0x7F) {
        out.push_back({{static_cast<uint8_t>(from), static_cast<uint8_t>(to)}});
      } else {
        Split(from, to, &out);
      }
      from = to + 1;
    }
  }
  return out;
}

}  // namespace nosa::text
