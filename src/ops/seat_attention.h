// Sparse attention of one decode step: every seat's query over its selected blocks, those included that are on their
// way.
#pragma once

#include <span>

#include "ops/ops.h"
#include "ops/seats.h"

namespace nosa::ops {

// For lane (r, g) and each head h of its group, over the visible tokens j of the selected blocks:
//   logit[j] = q[r, h] . k[j] * scale + s[j]   (s only with `bias`)
//   out[r, h] = softmax(logit) v
// computed as the partial states of the lane's splits (blocks kSplitBlocks * i and the ones after it), which are merged
// in the order of i. An empty seat gives 0.
//
// With `copies` the op fetches as well: it carries out copies[0 .. *copy_count - 1], frame.bytes each, every one of which
// brings a block of a selection, and looks at no block before the copy that brings it (`arrivals`) is done. Which blocks
// had to be fetched, and when they came, makes no difference to the bits.
struct SeatAttentionArgs {
  ConstTensorView q;                   // [R, H, D] f32
  std::span<const int32_t> positions;  // [R] tokens; -1: empty seat
  StepSelection selection;
  const std::byte* const* addresses = nullptr;  // [R, G, width] frames
  // As assign_slots leaves them. copies = null: nothing is fetched, and every block is read as it is.
  const BlockCopy* copies = nullptr;    // [R * G * width]
  const int32_t* copy_count = nullptr;  // [1]
  const int32_t* arrivals = nullptr;    // [R, G, width]
  BlockFrame frame;
  bool bias = false;
  float scale = 1.0f;
  int kv_heads = 0;  // G
  TensorView out;    // [R, H, Dv] f32, or bf16, rounded once
};

constexpr int SplitsOf(int width) { return (width + kSplitBlocks - 1) / kSplitBlocks; }

}  // namespace nosa::ops
