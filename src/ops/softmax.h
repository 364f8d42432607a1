// Softmax of each row.
#pragma once

#include "ops/ops.h"

namespace nosa::ops {

// y[r] = softmax(x[r] * scale) over the last dimension, from the row's maximum; -inf gives exactly 0.
struct SoftmaxArgs {
  ConstTensorView x;   // [R, N] f32, at least one finite entry per row
  TensorView y;        // [R, N] f32; may be x
  float scale = 1.0f;  // 1 / temperature
};

}  // namespace nosa::ops
