// How much work of an elementwise op one range of a parallel loop gets.
#pragma once

#include <algorithm>
#include <cstdint>

namespace nosa::cpu {

// A fork costs 2 to 5 us and a core streams about ten elements per ns through an elementwise kernel, slower ones
// (exponentials) some three: ranges of 16 Ki elements take 2 to 5 us, so smaller calls stay on the caller.
inline constexpr int64_t kElementsPerGrain = 16 * 1024;

// Rows of `width` elements per range.
inline int64_t RowsPerGrain(int64_t width) {
  return std::max<int64_t>(1, kElementsPerGrain / std::max<int64_t>(width, 1));
}

}  // namespace nosa::cpu
