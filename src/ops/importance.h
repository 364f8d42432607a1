// The importance of a token, per KV head.
#pragma once

#include "ops/ops.h"

namespace nosa::ops {

// NOSA's learned, query-agnostic importance (docs/nosa.md, "Per token"):
// s[m, g] = a[g] * softplus(sum_c delta[g, c] * v[m, c]), softplus(x) = log(1 + exp(x)), stable for any x.
struct ImportanceArgs {
  ConstTensorView v;      // [M, G, D] f32, the values of all KV heads of a token
  ConstTensorView delta;  // [G, G * D] f32 or bf16
  ConstTensorView a;      // [G] f32 or bf16
  TensorView s;           // [M, G] f32
};

}  // namespace nosa::ops
