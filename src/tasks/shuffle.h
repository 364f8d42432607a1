// Random orders that are a pure function of a seed, the same with every compiler and library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace nosa::tasks {

// What a seed draws, each from a stream of its own, so that a change in one leaves the others as they were.
inline constexpr uint64_t kDocumentStream = 1, kWordStream = 2, kNumberStream = 3;

// Uniform in [0, n), n > 0.
uint32_t UniformBelow(uint32_t n, uint64_t seed, uint64_t stream, uint64_t counter);

// 0 ... n - 1 in a random order.
std::vector<size_t> ShuffledIndices(size_t n, uint64_t seed, uint64_t stream);

}  // namespace nosa::tasks
