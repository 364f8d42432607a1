// The Llama family, with NOSA's two additions per layer (self_attn.delta, self_attn.A) where a checkpoint has them.
#include <optional>

#include "model/decoder.h"
#include "ops/embed.h"
#include "ops/importance.h"
#include "ops/product.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/swiglu.h"
#include "schema/tensors.h"

namespace nosa::model {
namespace {

struct LlamaLayer {
  ConstTensorView input_norm, post_norm;
  ConstTensorView q, k, v, o;
  ConstTensorView gate, up, down;
  ConstTensorView delta, a;  // empty without importance
};

// Workspace slots.
enum Slot : int { kNormed = kFirstFamilySlot, kQkv, kS, kAttended, kGateUp, kGated };

class LlamaDecoder final : public Decoder {
 public:
  LlamaDecoder(const schema::ModelConfig& config, std::shared_ptr<WeightSource> weights)
      : config_(config), weights_(std::move(weights)) {}

  Status Load(DType dtype);
  int layers() const override { return config_.num_layers; }

  void Embed(const ForwardCall& call, std::span<const TokenId> tokens, TensorView x) const override {
    ops::embed(*call.backend, {}, {.ids = tokens, .table = embed_, .y = x});
  }

  Status RunLayers(const ForwardCall& call, int begin, int end, TensorView x) const override {
    for (int i = begin; i < end; ++i) {
      NOSA_RETURN_IF_ERROR(Attention(call, i, x));
      Mlp(call, layers_[static_cast<size_t>(i)], x);
    }
    return Status::Ok();
  }

  void Head(const ForwardCall& call, ConstTensorView x, TensorView logits) const override {
    const TensorView normed = call.workspace->Get(kNormed, {x.rows(), config_.hidden_size}, Inputs(call));
    Norm(call, x, norm_, normed);
    const ops::ProductArgs::Term term = {.w = head_, .y = logits};
    // A few rows are decoding, or the end of a prompt: the row-wise product gives them the same bits in any company.
    constexpr int64_t kFewRows = 8;
    const auto mode = x.rows() <= kFewRows ? ops::ProductArgs::Mode::kRowwise : Mode(call);
    ops::product(*call.backend, {}, {.x = normed, .terms = {&term, 1}, .mode = mode});
  }

 private:
  static ops::ProductArgs::Mode Mode(const ForwardCall& call) {
    return call.batch.prefill || call.batch.fixed_rows ? ops::ProductArgs::Mode::kBatched
                                                       : ops::ProductArgs::Mode::kRowwise;
  }
  // The type of what only products read. Products with bf16 weights round it: on a device whoever writes it does so
  // instead, which saves a kernel for each product and half of the memory traffic, and not a bit changes. The CPU's
  // products copy x into a layout of their own anyway, and round on the way.
  DType Inputs(const ForwardCall& call) const {
    return call.backend->compute_memory() == MemoryKind::kDevice ? dtype_ : DType::kF32;
  }
  void Norm(const ForwardCall& call, ConstTensorView x, ConstTensorView weight, TensorView y) const {
    ops::rms_norm(*call.backend, {},
                  {.x = x, .weight = weight, .y = y, .eps = static_cast<float>(config_.rms_norm_eps)});
  }
  Status Attention(const ForwardCall& call, int layer, TensorView x) const;
  void Mlp(const ForwardCall& call, const LlamaLayer& layer, TensorView x) const;

  schema::ModelConfig config_;
  std::shared_ptr<WeightSource> weights_;
  DType dtype_ = DType::kF32;        // of every weight
  std::span<const float> inv_freq_;  // [head_dim / 2], where the weights lie
  ConstTensorView embed_, norm_, head_;
  std::vector<LlamaLayer> layers_;
};

Status LlamaDecoder::Load(DType dtype) {
  const schema::ModelConfig& c = config_;
  dtype_ = dtype;
  const int64_t hidden = c.hidden_size, inner = c.intermediate_size;
  const int64_t q_dim = int64_t{c.num_heads} * c.head_dim, kv_dim = int64_t{c.num_kv_heads} * c.head_dim;
  Status status;
  const auto get = [&](const std::string& name, Shape shape) -> ConstTensorView {
    if (!status.ok()) return {};
    Result<ConstTensorView> tensor = weights_->Get(name, shape, dtype);
    if (!tensor.ok()) {
      status = tensor.status();
      return {};
    }
    return *tensor;
  };
  embed_ = get("model.embed_tokens.weight", {c.vocab_size, hidden});
  norm_ = get("model.norm.weight", {hidden});
  head_ = c.tie_embeddings ? embed_ : get("lm_head.weight", {c.vocab_size, hidden});
  for (int i = 0; i < c.num_layers; ++i) {
    const std::string p = fmt::format("model.layers.{}.", i);
    LlamaLayer layer;
    layer.input_norm = get(p + "input_layernorm.weight", {hidden});
    layer.post_norm = get(p + "post_attention_layernorm.weight", {hidden});
    layer.q = get(p + "self_attn.q_proj.weight", {q_dim, hidden});
    layer.k = get(p + "self_attn.k_proj.weight", {kv_dim, hidden});
    layer.v = get(p + "self_attn.v_proj.weight", {kv_dim, hidden});
    layer.o = get(p + "self_attn.o_proj.weight", {hidden, q_dim});
    layer.gate = get(p + "mlp.gate_proj.weight", {inner, hidden});
    layer.up = get(p + "mlp.up_proj.weight", {inner, hidden});
    layer.down = get(p + "mlp.down_proj.weight", {hidden, inner});
    if (c.has_importance) {
      layer.delta = get(p + "self_attn.delta.weight", {c.num_kv_heads, kv_dim});
      layer.a = get(p + "self_attn.A", {c.num_kv_heads});
    }
    layers_.push_back(layer);
  }
  NOSA_RETURN_IF_ERROR(status);
  const std::vector<float> frequencies = schema::RopeInverseFrequencies(c.rope, c.head_dim);
  const int64_t pairs = static_cast<int64_t>(frequencies.size());
  NOSA_ASSIGN_OR_RETURN(const ConstTensorView inv_freq,
                        weights_->Put("rope.inv_freq", {frequencies.data(), DType::kF32, {pairs}}));
  inv_freq_ = {inv_freq.row<float>(0), frequencies.size()};
  return Status::Ok();
}

Status LlamaDecoder::Attention(const ForwardCall& call, int index, TensorView x) const {
  const LlamaLayer& layer = layers_[static_cast<size_t>(index)];
  const int64_t rows = x.rows(), heads = config_.num_heads, kv_heads = config_.num_kv_heads, dim = config_.head_dim;
  const TensorView normed = call.workspace->Get(kNormed, {rows, config_.hidden_size}, Inputs(call));
  // Side by side, as their weights are: then one product can fill all three.
  const int64_t width = (heads + 2 * kv_heads) * dim;
  const TensorView qkv_rows = call.workspace->Get(kQkv, {rows, width});
  const auto part = [&](int64_t first, int64_t count) {
    return TensorView(qkv_rows.row<float>(0) + first * dim, DType::kF32, {rows, count, dim}, width);
  };
  const TensorView q = part(0, heads), k = part(heads, kv_heads), v = part(heads + kv_heads, kv_heads);
  const TensorView attended =
      call.workspace->Get(kAttended, {rows, heads, dim}, call.attention->rounds_output() ? Inputs(call) : DType::kF32);
  const auto flat = [&](TensorView t) {
    return TensorView(t.bytes(), t.dtype(), {rows, t.RowElements()}, t.row_stride());
  };

  Norm(call, x, layer.input_norm, normed);
  const ops::ProductArgs::Term qkv[] = {{layer.q, flat(q)}, {layer.k, flat(k)}, {layer.v, flat(v)}};
  ops::product(*call.backend, {}, {.x = normed, .terms = qkv, .mode = Mode(call)});
  ops::rope(*call.backend, {},
            {.x = part(0, heads + kv_heads), .positions = call.batch.positions, .inv_freq = inv_freq_});  // q and k
  ConstTensorView s;
  if (config_.has_importance) {
    const TensorView scores = call.workspace->Get(kS, {rows, kv_heads});
    ops::importance(*call.backend, {}, {.v = v, .delta = layer.delta, .a = layer.a, .s = scores});
    s = scores;
  }
  NOSA_RETURN_IF_ERROR(call.attention->Run(LayerIdx(index), call.batch, q, k, v, s, attended));
  const ops::ProductArgs::Term out = {layer.o, x, true};
  ops::product(*call.backend, {}, {.x = flat(attended), .terms = {&out, 1}, .mode = Mode(call)});
  return Status::Ok();
}

void LlamaDecoder::Mlp(const ForwardCall& call, const LlamaLayer& layer, TensorView x) const {
  const int64_t rows = x.rows();
  const TensorView normed = call.workspace->Get(kNormed, {rows, config_.hidden_size}, Inputs(call));
  const int64_t inner = config_.intermediate_size;
  const TensorView both = call.workspace->Get(kGateUp, {rows, 2 * inner});
  const TensorView gate(both.row<float>(0), DType::kF32, {rows, inner}, 2 * inner);
  const TensorView up(both.row<float>(0) + inner, DType::kF32, {rows, inner}, 2 * inner);
  Norm(call, x, layer.post_norm, normed);
  const ops::ProductArgs::Term in[] = {{layer.gate, gate}, {layer.up, up}};
  ops::product(*call.backend, {}, {.x = normed, .terms = in, .mode = Mode(call)});
  const TensorView gated =
      Inputs(call) == DType::kF32 ? gate : call.workspace->Get(kGated, {rows, inner}, Inputs(call));
  ops::swiglu(*call.backend, {}, {.gate = gate, .up = up, .y = gated});
  const ops::ProductArgs::Term out = {layer.down, x, true};
  ops::product(*call.backend, {}, {.x = gated, .terms = {&out, 1}, .mode = Mode(call)});
}

}  // namespace

Result<std::unique_ptr<const Decoder>> MakeLlamaDecoder(const schema::ModelConfig& config,
                                                        std::shared_ptr<WeightSource> weights, DType dtype) {
  auto decoder = std::make_unique<LlamaDecoder>(config, std::move(weights));
  NOSA_RETURN_IF_ERROR(decoder->Load(dtype));
  return std::unique_ptr<const Decoder>(std::move(decoder));
}

}  // namespace nosa::model
