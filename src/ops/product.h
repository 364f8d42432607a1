// Products of activations with weight matrices.
#pragma once

#include <span>

#include "ops/ops.h"

namespace nosa::ops {

// y = x W^T (+ y) for one x and several W, as weights lie in a checkpoint: W[N, K] row-major, used in place.
// bf16 weights: x is rounded to bf16 first (so that both modes, and both devices, see the same inputs), unless whoever
// made it has done so; sums are f32.
// f32 weights: f32 throughout.
struct ProductArgs {
  struct Term {
    ConstTensorView w;        // [N, K] f32 or bf16
    TensorView y;             // [M, N] f32, must not overlap x
    bool accumulate = false;  // y += instead of y =
  };
  enum class Mode : uint8_t {
    // The bits of a row of y depend on that row of x alone, not on M or its neighbours: decode uses this, so
    // that a sequence's tokens do not depend on its company. Reads each weight once for up to 8 rows.
    kRowwise,
    // Fastest for many rows; a row's bits may depend on M. Prefill chunks.
    kBatched,
  };

  ConstTensorView x;            // [M, K] f32; or bf16, where every w is bf16
  std::span<const Term> terms;  // run as one parallel region
  Mode mode = Mode::kRowwise;
};

}  // namespace nosa::ops
