// The byte-level alphabet of GPT-2 (Radford et al., 2019, encoder.py): each of the 256 bytes has a printable
// character, so that any bytes can be written as tokens in JSON. Printable Latin-1 bytes stand for themselves,
// the other 68 are U+0100 and up in their order.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace nosa::text {

std::string ToByteLevel(std::string_view bytes);

// Inverse; nothing when `token` holds a character outside the alphabet. `token` is well-formed UTF-8.
std::optional<std::string> FromByteLevel(std::string_view token);

}  // namespace nosa::text
