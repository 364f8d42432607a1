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

// A trace of selections, recorded or made up: picks[row, step, lane, :] are the blocks beyond the forced ones, as
// places among the blocks that are not forced, all different. A place at or above their number is left out.
struct SelectionTrace {
  const uint16_t* picks = nullptr;  // [rows, steps, lanes, width]
  int rows = 0;
  int steps = 0;
  int lanes = 0;
  int width = 0;
};

// The part of a trace that one call replays: for lane (r, g) picks[r mod rows, (*step + stagger * r) mod steps, lane +
// g].
struct SelectionReplay {
  SelectionTrace trace;           // picks null: nothing is replayed
  int lane = 0;                   // of the layer's KV head 0
  const int32_t* step = nullptr;  // [1]
  int stagger = 0;                // steps by which the seats that share a row differ
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
  // For measurements: what the rule selects is replaced by its forced blocks and the picks.
  SelectionReplay replay = {};
};

// The most blocks a rule selects of max_blocks.
int SelectionWidth(const SelectionRule& rule, int max_blocks);

}  // namespace nosa::ops
