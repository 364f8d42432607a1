// Joins partial attention states into the attention output.
#pragma once

#include <span>

#include "ops/ops.h"
#include "ops/partial_state.h"

namespace nosa::ops {

// Merges parts in the given order and normalises: out[r, g*group + h] = acc / l of the merge of
// states[order[offsets[r*G + g]]], ..., states[order[offsets[r*G + g + 1] - 1]]. A row and head without parts, or with
// empty ones only, gives 0.
struct MergeStatesArgs {
  PartialStates states;
  std::span<const int32_t> offsets;  // [R * G + 1]
  std::span<const int32_t> order;    // state indices
  int kv_heads = 0;                  // G
  TensorView out;                    // [R, H, Dv] f32
};

}  // namespace nosa::ops
