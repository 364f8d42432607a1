// Joins the partial states of a decode step into the attention output.
#pragma once

#include "ops/ops.h"
#include "ops/partial_state.h"

namespace nosa::ops {

// out[r, g * group + h] = acc / l of the merge of states (r * G + g) * splits + i, i = 0 .. splits - 1, in that order;
// 0 where all are empty.
struct MergeSplitsArgs {
  PartialStates states;  // [R * G * splits]
  int splits = 0;
  int kv_heads = 0;  // G
  TensorView out;    // [R, H, Dv] f32, or bf16, rounded once
};

}  // namespace nosa::ops
