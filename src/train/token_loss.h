// Cross entropy of next tokens, whose logits are never whole.
#pragma once

#include "train/aten.h"

namespace nosa::train {

// Sum over rows r of weights[r] (log sum_v exp(logits[r, v]) - logits[r, targets[r]]), with logits = hidden head^T.
// hidden [R, N] and head [V, N] of one type (f32 or bf16), targets [R] i64 in [0, V), weights [R] f32; returns a
// scalar, f32. Logits are f32 and exist for some rows at a time; gradients of both are computed on the way, when
// gradients are recorded at all, and kept.
at::Tensor TokenLoss(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets,
                     const at::Tensor& weights);

// What one target costs, and whether it is the most probable token.
struct TokenLosses {
  at::Tensor losses;  // [R] f32: -log probability
  at::Tensor right;   // [R] bool
};
TokenLosses EveryTokenLoss(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets);

}  // namespace nosa::train
