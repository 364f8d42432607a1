#include "tasks/shuffle.h"

#include <numeric>
#include <utility>

#include "base/rng.h"

namespace nosa::tasks {

uint32_t UniformBelow(uint32_t n, uint64_t seed, uint64_t stream, uint64_t counter) {
  // The high half of a product (Lemire, arXiv 1805.10941); its bias is below n / 2^32, far below what any count here
  // shows.
  return static_cast<uint32_t>(static_cast<uint64_t>(Philox(seed, stream).Block(counter)[0]) * n >> 32);
}

std::vector<size_t> ShuffledIndices(size_t n, uint64_t seed, uint64_t stream) {
  std::vector<size_t> order(n);
  std::iota(order.begin(), order.end(), size_t{0});
  for (size_t i = n; i > 1; --i)
    std::swap(order[i - 1], order[UniformBelow(static_cast<uint32_t>(i), seed, stream, i)]);
  return order;
}

}  // namespace nosa::tasks
