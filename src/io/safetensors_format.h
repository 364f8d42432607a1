// What reader and writer of the safetensors format share. Private to the io room.
#pragma once

#include <bit>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "io/safetensors.h"

namespace nosa::io::internal {

static_assert(std::endian::native == std::endian::little, "safetensors are little-endian, and are read in place");

inline constexpr uint64_t kHeaderSizeBytes = 8;           // the little-endian size of the header, before it
inline constexpr uint64_t kMaxHeaderBytes = 100'000'000;  // as in the reference implementation
inline constexpr std::string_view kMetadataKey = "__metadata__";

// "BF16" for kBF16.
std::string_view FormatName(DType dtype);
// Nothing for a name that is unknown or that this program cannot hold ("F8_E4M3").
std::optional<DType> DTypeOfFormatName(std::string_view name);

struct SafetensorsHeader {
  std::map<std::string, TensorEntry> tensors;
  std::map<std::string, std::string> metadata;
  uint64_t data_begin = 0;  // bytes from the start of the file
};

// See ParseSafetensorsHeader.
Result<SafetensorsHeader> ParseHeader(ConstBytes file);

}  // namespace nosa::io::internal
