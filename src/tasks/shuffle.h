// Random draws and orders that are a pure function of a seed, the same with every compiler and library.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace nosa::tasks {

// What a seed draws, each from a stream of its own, so that a change in one leaves the others as they were: the order
// of documents, nouns, numbers, where filler begins, where planted lines go, and what is in them beside.
inline constexpr uint64_t kDocumentStream = 1, kWordStream = 2, kNumberStream = 3, kFillerStream = 4, kDepthStream = 5,
                          kTextStream = 6;

// Uniform in [0, n), n > 0.
uint32_t UniformBelow(uint32_t n, uint64_t seed, uint64_t stream, uint64_t counter);

// 0 ... n - 1 in a random order.
std::vector<size_t> ShuffledIndices(size_t n, uint64_t seed, uint64_t stream);

// The draws of one stream, one after the other.
class Draws {
 public:
  Draws(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}

  uint32_t Below(uint32_t n) { return UniformBelow(n, seed_, stream_, counter_++); }
  // In [0, 1).
  double Share() { return Below(1U << 24) * 0x1p-24; }
  template <typename T>
  void Shuffle(std::vector<T>* values) {
    for (size_t i = values->size(); i > 1; --i) std::swap((*values)[i - 1], (*values)[Below(static_cast<uint32_t>(i))]);
  }

 private:
  uint64_t seed_, stream_, counter_ = 0;
};

}  // namespace nosa::tasks
