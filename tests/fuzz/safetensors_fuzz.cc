// Any bytes as a safetensors file: refused, or every tensor lies inside and has the size its shape says.
// (src/io/safetensors_header_test.cc runs a few thousand damaged files where there is no fuzzer.)
#include <cstddef>
#include <cstdint>

#include "base/check.h"
#include "io/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const nosa::ConstBytes file(reinterpret_cast<const std::byte*>(data), size);
  uint64_t begin = 0;
  const auto tensors = nosa::io::ParseSafetensorsHeader(file, &begin);
  if (!tensors.ok()) {
    NOSA_CHECK(!tensors.status().message().empty(), "an error without a sentence");
    return 0;
  }
  for (const auto& [name, entry] : *tensors) {
    uint64_t bytes = nosa::DTypeBytes(entry.dtype);
    for (const int64_t dim : entry.shape) bytes *= static_cast<uint64_t>(dim);
    NOSA_CHECK(begin <= size && entry.begin <= entry.end && entry.end <= size - begin, "{} lies outside", name);
    NOSA_CHECK(bytes == entry.end - entry.begin, "{} has {} bytes", name, bytes);
  }
  return 0;
}
