// Sparse attention of whole sequences, backward.
#pragma once

#include "ops/ops.h"
#include "ops/sequence_attention.h"

namespace nosa::ops {

// The gradients of sum(out * dout) by q, k, v and s, where out and lse are what sequence_attention gave for `forward`
// (its `out` and `lse` are read here). With w the weights and e = dout[r, h] . v[j, g] - dout[r, h] . out[r, h]:
//   dq[r, h] = scale sum_j w_j e_j k[j, g]      dk[j, g] = scale sum_{r, h} w_j e_j q[r, h]
//   dv[j, g] = sum_{r, h} w_j dout[r, h]        ds[j, g] = sum_{r, h} w_j e_j
// Sums are taken in an order that depends on the shapes alone: the same call gives the same bits.
struct SequenceAttentionGradArgs {
  SequenceAttentionArgs forward;
  ConstTensorView dout;  // [B T, H, D] of q's type, packed
  TensorView dq;         // [B T, H, D] of q's type
  TensorView dk;         // [B T, G, D] of q's type
  TensorView dv;         // [B T, G, D] of q's type
  TensorView ds;         // [B T, G] f32; empty without s
};

}  // namespace nosa::ops
