// Typed memory with a shape, not owned. Row-major; rows (the first dimension) may lie apart.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <type_traits>

#include "base/check.h"
#include "tensor/dtype.h"

namespace nosa {

// Up to four dimensions, each >= 0. Value type.
class Shape {
 public:
  static constexpr int kMaxRank = 4;

  Shape() = default;
  Shape(std::initializer_list<int64_t> dims) : Shape(std::span<const int64_t>(dims.begin(), dims.size())) {}
  explicit Shape(std::span<const int64_t> dims);

  int rank() const { return rank_; }
  int64_t operator[](int i) const {
    NOSA_DCHECK(i >= 0 && i < rank_, "dimension {} of shape {}", i, ToString());
    return dims_[static_cast<size_t>(i)];
  }
  // Product of the dimensions; 0 for no dimension. Ends the program above 2^63 - 1: who reads a shape from a
  // file checks it first.
  int64_t elements() const;
  // "[128, 448]"
  std::string ToString() const;
  friend bool operator==(const Shape&, const Shape&) = default;

 private:
  std::array<int64_t, kMaxRank> dims_ = {};
  int rank_ = 0;
};

// Byte is std::byte (TensorView) or const std::byte (ConstTensorView). Copying copies the reference.
template <typename Byte>
class BasicTensorView {
  template <typename T>
  using Qualified = std::conditional_t<std::is_const_v<Byte>, const T, T>;

 public:
  BasicTensorView() = default;
  // `row_stride`: elements from one index of the first dimension to the next; 0 means packed.
  BasicTensorView(Qualified<void>* data, DType dtype, Shape shape, int64_t row_stride = 0)
      : data_(static_cast<Byte*>(data)), dtype_(dtype), shape_(shape) {
    const int64_t row = RowElements();
    row_stride_ = row_stride == 0 ? row : row_stride;
  }
  // A mutable view reads as a const one.
  // A template, as otherwise it would be the (deleted) copy constructor of the mutable view.
  template <typename Other>
  requires(std::is_const_v<Byte> && !std::is_const_v<Other>)
      BasicTensorView(const BasicTensorView<Other>& other)  // NOLINT: implicit on purpose
      : data_(other.bytes()), dtype_(other.dtype()), shape_(other.shape()), row_stride_(other.row_stride()) {}

  bool empty() const { return data_ == nullptr || shape_.elements() == 0; }
  Byte* bytes() const { return data_; }
  DType dtype() const { return dtype_; }
  const Shape& shape() const { return shape_; }
  int64_t dim(int i) const { return shape_[i]; }
  int64_t rows() const { return shape_.rank() == 0 ? 0 : shape_[0]; }
  // Elements of one index of the first dimension.
  int64_t RowElements() const {
    int64_t n = 1;
    for (int i = 1; i < shape_.rank(); ++i) n *= shape_[i];
    return n;
  }
  int64_t row_stride() const { return row_stride_; }
  bool packed() const { return row_stride_ == RowElements(); }

  // Start of row `i`, as T; T must have the size of the element.
  template <typename T>
  Qualified<T>* row(int64_t i) const {
    NOSA_DCHECK(sizeof(T) == DTypeBytes(dtype_), "row read as the wrong type");
    return reinterpret_cast<Qualified<T>*>(data_ + static_cast<size_t>(i * row_stride_) * DTypeBytes(dtype_));
  }
  Byte* row_bytes(int64_t i) const { return data_ + static_cast<size_t>(i * row_stride_) * DTypeBytes(dtype_); }

  // Rows [begin, begin + count); needs a first dimension.
  BasicTensorView Rows(int64_t begin, int64_t count) const {
    NOSA_DCHECK(begin >= 0 && count >= 0 && begin + count <= rows(), "rows {} + {} of shape {}", begin, count,
                shape_.ToString());
    std::array<int64_t, Shape::kMaxRank> dims = {};
    for (int i = 0; i < shape_.rank(); ++i) dims[static_cast<size_t>(i)] = shape_[i];
    dims[0] = count;
    return BasicTensorView(row_bytes(begin), dtype_,
                           Shape(std::span<const int64_t>(dims.data(), static_cast<size_t>(shape_.rank()))),
                           row_stride_);
  }

 private:
  Byte* data_ = nullptr;
  DType dtype_ = DType::kF32;
  Shape shape_;
  int64_t row_stride_ = 0;
};

using TensorView = BasicTensorView<std::byte>;
using ConstTensorView = BasicTensorView<const std::byte>;

}  // namespace nosa
