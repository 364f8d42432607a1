// Which blocks each seat reads in one decode step.
#pragma once

#include <span>

#include "ops/ops.h"
#include "ops/pool_windows.h"
#include "ops/seats.h"

namespace nosa::ops {

// How a set of blocks is filled: forced blocks first, then `query_blocks` members in all by Q, then `topk` in all by E
// (docs/nosa.md, "Selection"). A count of 0 leaves its stage out; both 0 select the forced blocks alone. Plain data.
struct SelectionRule {
  int init_blocks = 0;
  int local_blocks = 0;
  int query_blocks = 0;
  int topk = 0;
  bool every_block = false;  // attention over everything; the counts do not matter
};

// selection.ids = the blocks that the rule selects for the query at positions[r], ascending; ties go to the lower
// block. Q from the summaries' keys (windows and blocks as in window_scores and block_scores), E from their sigma.
struct SelectBlocksArgs {
  ConstTensorView q;                    // [R, H, D] f32, after RoPE
  std::span<const int32_t> positions;   // [R] tokens; -1: empty seat
  std::span<const WindowState> states;  // [R * G]; windows of the position itself are complete
  SelectionRule rule;
  int kv_heads = 0;
  int block_size = 0;
  int kernel_size = 0;
  int kernel_stride = 0;
  int max_blocks = 0;  // no position is in a later block
  float scale = 1.0f;
  DType summary_dtype = DType::kF32;
  StepSelection selection;
};

// The most blocks a rule selects of max_blocks.
int SelectionWidth(const SelectionRule& rule, int max_blocks);

}  // namespace nosa::ops
