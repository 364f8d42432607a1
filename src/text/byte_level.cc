#include "text/byte_level.h"

#include <array>
#include <cstdint>

#include "text/utf8.h"

namespace nosa::text {
namespace {

constexpr size_t kAlphabetEnd = 0x100 + 68;

struct Alphabet {
  std::array<char16_t, 256> character{};
  std::array<int16_t, kAlphabetEnd> byte{};  // -1: no byte

  constexpr Alphabet() {
    byte.fill(-1);
    char16_t next = 0x100;
    for (int b = 0; b < 256; ++b) {
      const bool printable = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      character[b] = printable ? static_cast<char16_t>(b) : next++;
      byte[character[b]] = static_cast<int16_t>(b);
    }
  }
};

constexpr Alphabet kAlphabet;

}  // namespace

std::string ToByteLevel(std::string_view bytes) {
  std::string out;
  out.reserve(bytes.size() + bytes.size() / 4);
  for (const char b : bytes) AppendUtf8(kAlphabet.character[static_cast<uint8_t>(b)], &out);
  return out;
}

std::optional<std::string> FromByteLevel(std::string_view token) {
  std::string out;
  out.reserve(token.size());
  while (!token.empty()) {
    const Utf8Step step = DecodeUtf8(token);
    if (step.code_point >= kAlphabetEnd || kAlphabet.byte[step.code_point] < 0) return std::nullopt;
    out.push_back(static_cast<char>(kAlphabet.byte[step.code_point]));
    token.remove_prefix(step.bytes);
  }
  return out;
}

}  // namespace nosa::text
