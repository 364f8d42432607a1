// Sparse attention of whole sequences, forward.
#pragma once

#include "ops/ops.h"
#include "ops/sequence.h"

namespace nosa::ops {

// out[r, h] = sum_j w_j v[j, g], w = softmax_j(q[r, h] . k[j, g] scale + s[j, g]), over the tokens j <= r of the row's
// sequence whose block is in masks[r, g]; lse[r, h] = log sum_j exp(the logits). A row that reads nothing gets zeros
// and -inf. f32 is computed in f32; with bf16, products take bf16 inputs (the weights are rounded too) and add in f32.
// Memory beside the arguments grows with rows, not with rows times tokens.
struct SequenceAttentionArgs {
  ConstTensorView q;      // [B T, H, D] f32 or bf16, packed like all of these
  ConstTensorView k;      // [B T, G, D] of q's type
  ConstTensorView v;      // [B T, G, D] of q's type
  ConstTensorView s;      // [B T, G] f32; empty: no bias
  ConstTensorView masks;  // [B T, G, MaskWords] i64
  int tokens = 0;         // T
  int block_size = 0;     // tokens
  float scale = 1.0f;
  TensorView out;  // [B T, H, D] of q's type
  TensorView lse;  // [B T, H] f32
};

}  // namespace nosa::ops
