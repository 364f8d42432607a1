// Token embedding.
#pragma once

#include <span>

#include "base/ids.h"
#include "ops/ops.h"

namespace nosa::ops {

// y[m] = table[ids[m]], widened to f32.
struct EmbedArgs {
  std::span<const TokenId> ids;  // [M], each in [0, V): callers check input from outside
  ConstTensorView table;         // [V, N] f32 or bf16
  TensorView y;                  // [M, N] f32
};

}  // namespace nosa::ops
