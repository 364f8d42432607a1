// Rotary position embedding.
#pragma once

#include <span>

#include "ops/ops.h"

namespace nosa::ops {

// Rotary embedding in place, half-split form (`rotate_half` of the Llama family): with a = positions[m] * inv_freq[i]
// rounded to f32 (as the reference implementations do), x[i] and x[i + D/2] turn by the angle a.
struct RopeArgs {
  TensorView x;                        // [M, heads, D] f32
  std::span<const int32_t> positions;  // [M] tokens
  std::span<const float> inv_freq;     // [D / 2] radians per token
};

}  // namespace nosa::ops
