// What the Check functions of the ops have in common.
#pragma once

#include "base/check.h"
#include "tensor/view.h"

namespace nosa::ops {

// Ends the program unless `view` is `shape` of `dtype`. `name` is the argument's, with its op: "rms_norm: y".
inline void CheckView(const ConstTensorView& view, const char* name, DType dtype, const Shape& shape) {
  NOSA_CHECK(view.shape() == shape && view.dtype() == dtype, "{}: expected {} {}, found {} {}", name, DTypeName(dtype),
             shape.ToString(), DTypeName(view.dtype()), view.shape().ToString());
  NOSA_CHECK(view.bytes() != nullptr || shape.elements() == 0, "{}: no data for {}", name, shape.ToString());
}

// The same for what may be f32 or bf16: weights, and what only products read.
inline void CheckFloats(const ConstTensorView& view, const char* name, const Shape& shape) {
  NOSA_CHECK(view.dtype() == DType::kF32 || view.dtype() == DType::kBF16, "{}: expected f32 or bf16, found {}", name,
             DTypeName(view.dtype()));
  CheckView(view, name, view.dtype(), shape);
}

// Ends the program where the memory from the first to the last element of `a` meets that of `b`.
inline void CheckApart(const ConstTensorView& a, const char* a_name, const ConstTensorView& b, const char* b_name) {
  if (a.empty() || b.empty()) return;
  const auto end = [](const ConstTensorView& view) {
    return view.row_bytes(view.rows() - 1) + static_cast<size_t>(view.RowElements()) * DTypeBytes(view.dtype());
  };
  NOSA_CHECK(end(a) <= b.bytes() || end(b) <= a.bytes(), "{} {} overlaps {} {}", a_name, a.shape().ToString(), b_name,
             b.shape().ToString());
}

inline void CheckRank(const ConstTensorView& view, const char* name, int rank) {
  NOSA_CHECK(view.shape().rank() == rank, "{}: expected {} dimensions, found {}", name, rank, view.shape().ToString());
}

// Bytes of the elements, read or written once.
inline double ViewBytes(const ConstTensorView& view) {
  return static_cast<double>(view.shape().elements()) * static_cast<double>(DTypeBytes(view.dtype()));
}

}  // namespace nosa::ops
