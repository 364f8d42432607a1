#include "tensor/view.h"

#include <fmt/ranges.h>

namespace nosa {

Shape::Shape(std::span<const int64_t> dims) : rank_(static_cast<int>(dims.size())) {
  NOSA_CHECK(rank_ <= kMaxRank, "a shape has at most {} dimensions, found {}", kMaxRank, rank_);
  for (size_t i = 0; i < dims.size(); ++i) dims_[i] = dims[i];
}

int64_t Shape::elements() const {
  int64_t n = rank_ == 0 ? 0 : 1;
  for (int i = 0; i < rank_; ++i) n *= dims_[static_cast<size_t>(i)];
  return n;
}

std::string Shape::ToString() const {
  return fmt::format("[{}]", fmt::join(dims_.begin(), dims_.begin() + rank_, ", "));
}

}  // namespace nosa
