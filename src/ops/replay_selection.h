// Replaces a step's selection by a recorded or made-up one, for measurements.
#pragma once

#include <cstdint>
#include <span>

#include "ops/ops.h"
#include "ops/seats.h"

namespace nosa::ops {

// A trace of selections: picks[row, step, lane, :] are the blocks beyond the forced ones, as places among the blocks
// that are not forced, all different. A place at or above their number is left out.
struct SelectionTrace {
  const uint16_t* picks = nullptr;  // [rows, steps, lanes, width]
  int rows = 0;
  int steps = 0;
  int lanes = 0;
  int width = 0;
};

// Lane (r, g) gets its forced blocks (the first init_blocks, its own, and local_blocks before it) and those of
// picks[r mod rows, (*step + stagger * r) mod steps, lane + g].
struct ReplaySelectionArgs {
  SelectionTrace trace;
  int lane = 0;                        // of the layer's KV head 0
  const int32_t* step = nullptr;       // [1]
  int stagger = 0;                     // steps by which the seats that share a row differ
  std::span<const int32_t> positions;  // [R] tokens; -1: empty seat
  int kv_heads = 0;
  int init_blocks = 0;
  int local_blocks = 0;
  int block_size = 0;
  StepSelection selection;
};

}  // namespace nosa::ops
