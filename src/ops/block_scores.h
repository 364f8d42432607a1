// Turns window scores into block scores.
#pragma once

#include <span>

#include "ops/ops.h"

namespace nosa::ops {

// Block scores from window scores: out[b] = max of values[w] over the windows that cover block b and exist,
// max(0, stride_b*b - 1) <= w <= min(stride_b*b + stride_b - 1, windows - 1); -inf when there are none.
struct BlockScoresArgs {
  struct Row {
    const float* values = nullptr;  // [windows] f32
    float* out = nullptr;           // [blocks] f32
    int32_t windows = 0;
    int32_t blocks = 0;
  };
  std::span<const Row> rows;
  int windows_per_block = 0;  // stride_b = B / st
};

}  // namespace nosa::ops
