// What the kernels of window_scores share: their arguments as plain data, and their launches. Private to the op.
#pragma once

#include "backend/cuda/context.h"
#include "ops/window_scores.h"

namespace nosa::cuda {

// Windows whose softmax is computed together: greatest logit and sum of a split first, of all windows from the splits.
// A constant, because bits depend on it: a row's must not depend on the rows beside it.
inline constexpr int kSplit = 128;

// Greatest logit of a split, and the sum of exp(logit - max).
struct SplitSoftmax {
  float max, sum;
};

// WindowScoresArgs as kernels take them: everything the device can address, sizes for the grid.
struct WindowPlan {
  const float* q;  // [rows, heads, dim], rows `q_stride` elements apart
  int64_t q_stride;
  const ops::WindowScoresArgs::Row* rows;
  const ops::WindowState* states;
  float* p;  // [rows, kv_heads, width], rows `p_stride` elements apart
  int64_t p_stride;
  SplitSoftmax* parts;  // [rows, heads, splits]
  float scale;
  int row_count;
  int heads;
  int kv_heads;
  int dim;
  int width;
  int splits;
  int sequences;  // at least 1: states there are, by KV heads
};

// On tensor cores; false when the shapes are not theirs. Which shapes those are depends on nothing but the sizes of the
// model, so that all calls of a model give the same bits.
bool WindowScoresOnTensorCores(Context& context, ops::Stream stream, const WindowPlan& plan, DType summary_dtype);

}  // namespace nosa::cuda
