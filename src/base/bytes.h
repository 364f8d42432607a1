// Bytes: spans, sizes as people write them, rounding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace nosa {

using ConstBytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline constexpr uint64_t kKiB = 1024;
inline constexpr uint64_t kMiB = 1024 * kKiB;
inline constexpr uint64_t kGiB = 1024 * kMiB;

// "512MiB", "1.5GiB", "4096", "10GB" (powers of 1000 for KB, MB, GB, TB; of 1024 for KiB ... TiB), to bytes.
// Fails with kInvalidArgument on anything else, a negative size or one above 2^63 - 1.
Result<uint64_t> ParseByteSize(std::string_view text);

// Shortest form people read: "8.0 MiB", "640 B".
std::string FormatByteSize(uint64_t bytes);

constexpr uint64_t RoundUp(uint64_t value, uint64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
constexpr int64_t CeilDiv(int64_t a, int64_t b) { return (a + b - 1) / b; }

template <typename T>
ConstBytes AsBytes(std::span<const T> s) {
  return std::as_bytes(s);
}

}  // namespace nosa
