#include "base/bytes.h"

#include <array>
#include <charconv>
#include <cmath>

namespace nosa {
namespace {

struct Unit {
  std::string_view name;
  double bytes;
};

constexpr std::array<Unit, 10> kUnits = {{{"", 1},
                                          {"B", 1},
                                          {"KiB", 1024.0},
                                          {"MiB", 1024.0 * 1024},
                                          {"GiB", 1024.0 * 1024 * 1024},
                                          {"TiB", 1024.0 * 1024 * 1024 * 1024},
                                          {"KB", 1e3},
                                          {"MB", 1e6},
                                          {"GB", 1e9},
                                          {"TB", 1e12}}};

}  // namespace

Result<uint64_t> ParseByteSize(std::string_view text) {
  const auto bad = [&] {
    return InvalidArgument("expected a size such as 512MiB, 1.5GiB or 4096, found \"{}\"", text);
  };
  double number = 0;
  const char* end = text.data() + text.size();
  const auto [rest, error] = std::from_chars(text.data(), end, number, std::chars_format::fixed);
  if (error != std::errc() || !(number >= 0)) return bad();
  std::string_view suffix(rest, static_cast<size_t>(end - rest));
  if (suffix.starts_with(' ')) suffix.remove_prefix(1);
  for (const Unit& unit : kUnits) {
    if (suffix != unit.name) continue;
    const double bytes = number * unit.bytes;
    if (bytes >= 9.2233720368547758e18) return bad();
    return static_cast<uint64_t>(std::llround(bytes));
  }
  return bad();
}

std::string FormatByteSize(uint64_t bytes) {
  if (bytes < kKiB) return fmt::format("{} B", bytes);
  constexpr std::array<const char*, 4> kNames = {"KiB", "MiB", "GiB", "TiB"};
  double value = static_cast<double>(bytes) / 1024;
  // 1023.95 is the first value that one digit after the point rounds up to 1024.0.
  size_t unit = 0;
  while (value >= 1023.95 && unit + 1 < kNames.size()) {
    value /= 1024;
    ++unit;
  }
  return fmt::format("{:.1f} {}", value, kNames[unit]);
}

}  // namespace nosa
