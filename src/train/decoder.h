// The decoder of docs/nosa.md over whole sequences, for learning: what the engine computes token by token.
#pragma once

#include "train/attention.h"
#include "train/parameters.h"
#include "train/token_loss.h"

namespace nosa::train {

struct ForwardOptions {
  Method method;
  at::ScalarType type = at::kFloat;  // of matrix products: f32 or bf16; the residual stream is f32
  bool recompute = false;            // keep each layer's input alone for the backward pass
  // Where to add what the selection holds of each layer's attention; null: it is not looked at.
  std::vector<AttentionHeld>* held = nullptr;
};

class Decoder {
 public:
  // Borrows both; has leaves of its own.
  Decoder(const Compute& compute, const Parameters& parameters);

  Leaves& leaves() { return leaves_; }

  // ids [B T] i64, sequences of `tokens` tokens one after the other. Returns what the head multiplies, [B T, N] of
  // options.type.
  at::Tensor Hidden(const at::Tensor& ids, int tokens, const ForwardOptions& options);
  // TokenLoss (token_loss.h) of the hidden states.
  at::Tensor Loss(const at::Tensor& ids, const at::Tensor& targets, const at::Tensor& weights, int tokens,
                  const ForwardOptions& options);
  // EveryTokenLoss of them.
  TokenLosses Losses(const at::Tensor& ids, const at::Tensor& targets, int tokens, const ForwardOptions& options);
  // All logits, [B T, V] f32, without gradients: for comparing.
  at::Tensor Logits(const at::Tensor& ids, int tokens, const ForwardOptions& options);

  // The first place whose values are not all finite: "the parameter model.norm.weight", "layer 3's attention",
  // "layer 3's MLP", "the logits"; empty when there is none.
  std::string FirstNonFinite(const at::Tensor& ids, int tokens, const ForwardOptions& options);

 private:
  at::Tensor AttentionPart(const LayerLeaves& layer, const at::Tensor& x, int tokens,
                           const ForwardOptions& options) const;
  at::Tensor MlpPart(const LayerLeaves& layer, const at::Tensor& x, const ForwardOptions& options) const;
  at::Tensor Layer(const LayerLeaves& layer, const at::Tensor& x, int tokens, const ForwardOptions& options) const;
  at::Tensor Head(const ForwardOptions& options) const;
  // cos and sin for positions [0, tokens).
  void PrepareRotation(int tokens);

  const Compute& compute_;
  const Parameters& parameters_;
  Leaves leaves_;
  at::Tensor frequencies_;  // [D / 2]
  at::Tensor cos_, sin_;    // [positions, 1, D / 2] f32
};

}  // namespace nosa::train
