// Attention of whole sequences as a differentiable function.
#pragma once

#include "train/compute.h"
#include "train/method.h"

namespace nosa::train {

// Of `tokens`-long sequences, row b T + t being token t of sequence b. q [B T, H, D] and k after RoPE; k, v [B T, G,
// D]; s [B T, G] f32, undefined when the method has no importance. q, k and v are contiguous and of one type, f32 or
// bf16. Returns [B T, H, D] of that type. The selection has no gradient; `compute` outlives the backward pass. Memory
// grows with rows, but for dense attention on LibTorch 1, which holds rows times tokens.
at::Tensor Attend(const Compute& compute, const Method& method, int tokens, const at::Tensor& q, const at::Tensor& k,
                  const at::Tensor& v, const at::Tensor& s);

// The blocks every token reads: [B T, G, MaskWords] i64 (ops/sequence_select.h). No gradient.
at::Tensor SelectMasks(const Compute& compute, const Method& method, int tokens, const at::Tensor& q,
                       const at::Tensor& k, const at::Tensor& s);

// How much of its attention a query finds in the blocks that are selected for it, were it to look at all of them: the
// sum over `rows` queries, each the mean over its heads of exp(lse of the selected - lse of all), with the bias if
// there is one.
struct AttentionHeld {
  double sum = 0;
  int64_t rows = 0;
  double mean() const { return rows == 0 ? 1 : sum / static_cast<double>(rows); }
};
// Over the queries whose sequences have more blocks than they may select. No gradient.
AttentionHeld HeldBySelection(const Compute& compute, const Method& method, int tokens, const at::Tensor& q,
                              const at::Tensor& k, const at::Tensor& v, const at::Tensor& s);

}  // namespace nosa::train
