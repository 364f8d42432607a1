#include "train/decoder.h"

#include "schema/tensors.h"
#include "train/recompute.h"

namespace nosa::train {
namespace {

at::Tensor As(const at::Tensor& x, at::ScalarType type) { return x.scalar_type() == type ? x : x.to(type); }

// In f32, rounded to `type`.
at::Tensor RmsNorm(const at::Tensor& x, const at::Tensor& weight, double eps, at::ScalarType type) {
#if TORCH_VERSION_MAJOR >= 2 && TORCH_VERSION_MINOR >= 8  // one kernel forward, few backward
  return As(at::rms_norm(x, x.sizes().slice(1), weight, eps), type);
#else
  const at::Tensor mean = x.square().mean(-1, true);
  return As(x * at::rsqrt(mean + eps) * weight, type);
#endif
}

// Half-split rotation: of heads x [B T, N, D], in f32.
at::Tensor Rotate(const at::Tensor& x, int tokens, const at::Tensor& cos, const at::Tensor& sin) {
  const std::vector<int64_t> sizes = x.sizes().vec();
  const at::Tensor heads = As(x, at::kFloat).reshape({sizes[0] / tokens, tokens, sizes[1], sizes[2]});
  const at::Tensor first = heads.narrow(3, 0, sizes[2] / 2), second = heads.narrow(3, sizes[2] / 2, sizes[2] / 2);
  const at::Tensor rotated = at::cat({first * cos - second * sin, second * cos + first * sin}, 3);
  return As(rotated.view(sizes), x.scalar_type());
}

}  // namespace

Decoder::Decoder(const Compute& compute, const Parameters& parameters)
    : compute_(compute), parameters_(parameters), leaves_(parameters) {
  const std::vector<float> frequencies =
      schema::RopeInverseFrequencies(parameters.config().rope, parameters.config().head_dim);
  frequencies_ = at::empty({static_cast<int64_t>(frequencies.size())}, at::kFloat);
  std::copy(frequencies.begin(), frequencies.end(), frequencies_.data_ptr<float>());
}

void Decoder::PrepareRotation(int tokens) {
  if (cos_.defined() && cos_.size(0) == tokens) return;
  // Angles in f64: at 32,768 tokens an f32 angle is off by more than what the engine is held to.
  const at::Tensor angles = at::outer(at::arange(tokens, at::kDouble), frequencies_.to(at::kDouble)).unsqueeze(1);
  cos_ = angles.cos().to(at::kFloat).to(compute_.device());
  sin_ = angles.sin().to(at::kFloat).to(compute_.device());
}

at::Tensor Decoder::AttentionPart(const LayerLeaves& layer, const at::Tensor& x, int tokens,
                                  const ForwardOptions& options) const {
  const schema::ModelConfig& config = parameters_.config();
  const int64_t rows = x.size(0), dim = config.head_dim, q_size = config.num_heads * dim,
                kv_size = config.num_kv_heads * dim;
  const at::Tensor normed = RmsNorm(x, layer.input_norm, config.rms_norm_eps, options.type);
  const at::Tensor qkv = at::matmul(normed, As(layer.qkv, options.type).t());
  // Queries and keys turn together: they are neighbours in memory.
  const at::Tensor turned = Rotate(qkv.narrow(1, 0, q_size + kv_size).reshape({rows, -1, dim}), tokens, cos_, sin_);
  const at::Tensor q = turned.narrow(1, 0, config.num_heads).contiguous();
  const at::Tensor k = turned.narrow(1, config.num_heads, config.num_kv_heads).contiguous();
  const at::Tensor v = qkv.narrow(1, q_size + kv_size, kv_size).contiguous();
  at::Tensor s;
  if (options.method.needs_importance()) s = at::softplus(at::matmul(As(v, at::kFloat), layer.delta.t())) * layer.a;
  const at::Tensor values = v.view({rows, config.num_kv_heads, dim});
  if (options.held != nullptr) {
    const AttentionHeld here = HeldBySelection(compute_, options.method, tokens, q, k, values, s);
    AttentionHeld& sum = options.held->at(static_cast<size_t>(&layer - leaves_.layers.data()));
    sum.sum += here.sum;
    sum.rows += here.rows;
  }
  const at::Tensor out = Attend(compute_, options.method, tokens, q, k, values, s);
  return at::matmul(out.view({rows, q_size}), As(layer.o, options.type).t());
}

at::Tensor Decoder::MlpPart(const LayerLeaves& layer, const at::Tensor& x, const ForwardOptions& options) const {
  const schema::ModelConfig& config = parameters_.config();
  const at::Tensor normed = RmsNorm(x, layer.post_norm, config.rms_norm_eps, options.type);
  const at::Tensor gate_up = at::matmul(normed, As(layer.gate_up, options.type).t());
  const at::Tensor gate = gate_up.narrow(1, 0, config.intermediate_size),
                   up = gate_up.narrow(1, config.intermediate_size, config.intermediate_size);
  return at::matmul(at::silu(gate) * up, As(layer.down, options.type).t());
}

at::Tensor Decoder::Layer(const LayerLeaves& layer, const at::Tensor& x, int tokens,
                          const ForwardOptions& options) const {
  const at::Tensor y = x + AttentionPart(layer, x, tokens, options);
  return y + MlpPart(layer, y, options);
}

at::Tensor Decoder::Hidden(const at::Tensor& ids, int tokens, const ForwardOptions& options) {
  PrepareRotation(tokens);
  at::Tensor x = at::embedding(leaves_.embedding, ids);
  for (const LayerLeaves& layer : leaves_.layers) {
    const auto run = [this, &layer, tokens, options](const at::Tensor& input) {
      return Layer(layer, input, tokens, options);
    };
    x = options.recompute ? Recompute(run, x) : run(x);
  }
  return RmsNorm(x, leaves_.final_norm, parameters_.config().rms_norm_eps, options.type);
}

at::Tensor Decoder::Head(const ForwardOptions& options) const { return As(leaves_.head, options.type); }

at::Tensor Decoder::Loss(const at::Tensor& ids, const at::Tensor& targets, const at::Tensor& weights, int tokens,
                         const ForwardOptions& options) {
  return TokenLoss(Hidden(ids, tokens, options), Head(options), targets, weights);
}

TokenLosses Decoder::Losses(const at::Tensor& ids, const at::Tensor& targets, int tokens,
                            const ForwardOptions& options) {
  const at::NoGradGuard no_grad;
  return EveryTokenLoss(Hidden(ids, tokens, options), Head(options), targets);
}

at::Tensor Decoder::Logits(const at::Tensor& ids, int tokens, const ForwardOptions& options) {
  const at::NoGradGuard no_grad;
  return at::matmul(Hidden(ids, tokens, options), Head(options).t()).to(at::kFloat);
}

std::string Decoder::FirstNonFinite(const at::Tensor& ids, int tokens, const ForwardOptions& options) {
  const at::NoGradGuard no_grad;
  const auto finite = [](const at::Tensor& x) { return at::isfinite(x).all().item<bool>(); };
  for (const auto& [name, value] : parameters_.NamedIn(parameters_.master())) {
    if (!finite(value)) return "the parameter " + name;
  }
  PrepareRotation(tokens);
  at::Tensor x = at::embedding(leaves_.embedding, ids);
  for (size_t i = 0; i < leaves_.layers.size(); ++i) {
    const LayerLeaves& layer = leaves_.layers[i];
    x = x + AttentionPart(layer, x, tokens, options);
    if (!finite(x)) return fmt::format("layer {}'s attention", i);
    x = x + MlpPart(layer, x, options);
    if (!finite(x)) return fmt::format("layer {}'s MLP", i);
  }
  return finite(Logits(ids, tokens, options)) ? "" : "the logits";
}

}  // namespace nosa::train
