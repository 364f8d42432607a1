// Root-mean-square normalisation.
#pragma once

#include "ops/ops.h"

namespace nosa::ops {

// y[m, n] = x[m, n] / sqrt(mean_n(x[m, n]^2) + eps) * weight[n], in f32.
struct RmsNormArgs {
  ConstTensorView x;       // [M, N] f32
  ConstTensorView weight;  // [N] f32 or bf16
  TensorView y;            // [M, N] f32, may be x; or bf16, rounded once, must not overlap x
  float eps = 1e-5f;
};

}  // namespace nosa::ops
