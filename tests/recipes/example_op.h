// Multiplies every row by a number of its own.
#pragma once

#include "ops/ops.h"

namespace nosa::ops {

// y[m, n] = x[m, n] * factor[m], rounded once.
struct ScaleRowsArgs {
  ConstTensorView x;       // [M, N] f32
  ConstTensorView factor;  // [M] f32
  TensorView y;            // [M, N] f32; may be x
};

}  // namespace nosa::ops
