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

// The same for weights: f32 or bf16.
inline void CheckWeight(const ConstTensorView& view, const char* name, const Shape& shape) {
  NOSA_CHECK(view.dtype() == DType::kF32 || view.dtype() == DType::kBF16, "{}: expected f32 or bf16, found {}", name,
             DTypeName(view.dtype()));
  CheckView(view, name, view.dtype(), shape);
}

inline void CheckRank(const ConstTensorView& view, const char* name, int rank) {
  NOSA_CHECK(view.shape().rank() == rank, "{}: expected {} dimensions, found {}", name, rank, view.shape().ToString());
}

// Bytes of the elements, read or written once.
inline double ViewBytes(const ConstTensorView& view) {
  return static_cast<double>(view.shape().elements()) * static_cast<double>(DTypeBytes(view.dtype()));
}

}  // namespace nosa::ops
