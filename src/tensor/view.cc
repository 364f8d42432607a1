#include "tensor/view.h"

#include <fmt/ranges.h>

namespace nosa {

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  NOSA_CHECK(rank_ <= kMaxRank, "a shape has at most {} dimensions, found {}", kMaxRank, rank_);
  for (size_t i = 0; i < dims.size(); ++i) {
    NOSA_CHECK(dims[i] >= 0, "dimension {} of a shape is negative: {}", i, dims[i]);
    dims_[i] = dims[i];
  }
}

int64_t Shape::elements() const {
  int64_t n = rank_ == 0 ? 0 : 1;
  for (int i = 0; i < rank_; ++i) {
    NOSA_CHECK(!__builtin_mul_overflow(n, dims_[static_cast<size_t>(i)], &n), "shape {} has more than 2^63 elements",
               ToString());
  }
  return n;
}

std::string Shape::ToString() const {
  return fmt::format("[{}]", fmt::join(dims_.begin(), dims_.begin() + rank_, ", "));
}

}  // namespace nosa
