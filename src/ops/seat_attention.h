// Sparse attention of one decode step: every seat's query over its selected blocks.
#pragma once

#include <span>

#include "ops/ops.h"
#include "ops/partial_state.h"
#include "ops/seats.h"

namespace nosa::ops {

// For lane (r, g) and split i of its selection (blocks kSplitBlocks * i and the ones after it), state
// (r * G + g) * splits + i becomes the partial attention of the g heads over the visible tokens of those blocks:
//   logit[j] = q[r, h] . k[j] * scale + s[j]   (s only with `bias`).
// Splits beyond the selection become empty. Which splits a call computes is `part`'s choice; it leaves the others alone.
// The bits of a state do not depend on it.
struct SeatAttentionArgs {
  enum class Part : uint8_t { kAll, kReady, kLate };

  ConstTensorView q;                   // [R, H, D] f32
  std::span<const int32_t> positions;  // [R] tokens; -1: empty seat
  StepSelection selection;
  const std::byte* const* addresses = nullptr;  // [R, G, width] frames
  const uint8_t* late = nullptr;                // [R, G, splits]; not needed for kAll
  Part part = Part::kAll;
  BlockFrame frame;
  bool bias = false;
  float scale = 1.0f;
  int kv_heads = 0;
  PartialStates states;  // [R * G * splits]
};

inline int SplitsOf(int width) { return (width + kSplitBlocks - 1) / kSplitBlocks; }

}  // namespace nosa::ops
