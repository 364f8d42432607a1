// The gated activation of the feed-forward layer.
#pragma once

#include "ops/ops.h"

namespace nosa::ops {

// y = gate / (1 + exp(-gate)) * up, element by element.
struct SwigluArgs {
  ConstTensorView gate;  // [M, N] f32
  ConstTensorView up;    // [M, N] f32
  TensorView y;          // [M, N] f32, may be gate or up; or bf16, rounded once, must overlap neither
};

}  // namespace nosa::ops
