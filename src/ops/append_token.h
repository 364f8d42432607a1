// Puts the token of every seat into its cache: tail block, home page and block summaries.
#pragma once

#include <span>

#include "ops/ops.h"
#include "ops/pool_windows.h"
#include "ops/seats.h"

namespace nosa::ops {

// For every seat with position t = positions[r] >= 0 and every KV head: k, v and s are rounded to the cache's type and
// written to row t mod B of the tail frame and of page t / B (if it has one), and the summaries are extended as
// pool_windows does, with its bits. `lanes.blocks` and `lanes.used` are left alone.
struct AppendTokenArgs {
  ConstTensorView k;                    // [R, G, Dk] f32, after RoPE
  ConstTensorView v;                    // [R, G, Dv] f32
  ConstTensorView s;                    // [R, G] f32; empty without importance
  std::span<const int32_t> positions;   // [R] tokens; -1: empty seat
  std::span<const WindowState> states;  // [R * G]
  SlotLanes lanes;
  BlockFrame frame;
  int kernel_size = 0;                // ks, a multiple of kernel_stride
  int kernel_stride = 0;              // st
  DType summary_dtype = DType::kF32;  // of the states' keys
};

}  // namespace nosa::ops
