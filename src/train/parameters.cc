#include "train/parameters.h"

#include <cmath>
#include <cstring>

#include "base/bytes.h"
#include "base/rng.h"
#include "schema/tensors.h"
#include "train/compute.h"

namespace nosa::train {
namespace {

// Elements a leaf begins at a multiple of: what vector loads and matrix products like.
constexpr int64_t kAlignment = 64;

ParameterGroup GroupOf(const std::string& name) {
  if (name.ends_with("norm.weight")) return ParameterGroup::kNorms;
  if (name.ends_with("self_attn.delta.weight")) return ParameterGroup::kDelta;
  if (name.ends_with("self_attn.A")) return ParameterGroup::kGain;
  return ParameterGroup::kMatrices;
}

// Whether a tensor continues the matrix of the one before it in ExpectedTensors' order.
bool Continues(const std::string& name) {
  return name.ends_with("k_proj.weight") || name.ends_with("v_proj.weight") || name.ends_with("up_proj.weight");
}

std::vector<int64_t> Sizes(const Shape& shape) {
  std::vector<int64_t> sizes;
  for (int i = 0; i < shape.rank(); ++i) sizes.push_back(shape[i]);
  return sizes;
}

// What `name` begins as.
at::Tensor Initial(const schema::ModelConfig& config, const InitOptions& options, uint64_t stream,
                   const schema::TensorSpec& spec) {
  const at::Tensor values = at::empty(Sizes(spec.shape), at::kFloat);
  if (spec.name.ends_with("norm.weight") || spec.name.ends_with("self_attn.A")) return values.fill_(1);
  double scale = options.scale;
  if (spec.name.ends_with("self_attn.delta.weight")) scale = options.delta_scale;
  if (spec.name.ends_with("o_proj.weight") || spec.name.ends_with("down_proj.weight"))
    scale /= std::sqrt(2.0 * config.num_layers);
  const Philox random(options.seed, stream);
  float* out = values.data_ptr<float>();
  for (int64_t i = 0; i < values.numel(); ++i)
    out[i] = static_cast<float>(scale) * random.Normal(static_cast<uint64_t>(i));
  return values;
}

}  // namespace

Parameters::Parameters(const schema::ModelConfig& config, const InitOptions& options, at::Device device)
    : config_(config) {
  std::vector<schema::TensorSpec> specs;
  for (schema::TensorSpec& spec : schema::ExpectedTensors(config)) {
    if (!spec.optional || config.has_importance) specs.push_back(std::move(spec));
  }
  // Places: group by group, and within one in file order.
  int64_t size = 0;
  for (int group = 0; group < kParameterGroups; ++group) {
    groups_[group].begin = size;
    for (const schema::TensorSpec& spec : specs) {
      if (GroupOf(spec.name) != static_cast<ParameterGroup>(group)) continue;
      if (!Continues(spec.name)) size = static_cast<int64_t>(RoundUp(static_cast<uint64_t>(size), kAlignment));
      begins_[spec.name] = size;
      size += spec.shape.elements();
      count_ += spec.shape.elements();
    }
    size = static_cast<int64_t>(RoundUp(static_cast<uint64_t>(size), kAlignment));
    groups_[group].count = size - groups_[group].begin;
  }
  const at::Tensor values = at::zeros({size}, at::kFloat);
  uint64_t stream = 0;
  for (const schema::TensorSpec& spec : specs) {
    shapes_.emplace_back(spec.name, Sizes(spec.shape));
    values.narrow(0, begins_[spec.name], spec.shape.elements())
        .copy_(Initial(config, options, ++stream, spec).view(-1));
  }
  master_ = values.to(device);
}

std::vector<std::pair<std::string, at::Tensor>> Parameters::NamedIn(const at::Tensor& flat) const {
  std::vector<std::pair<std::string, at::Tensor>> named;
  for (const auto& [name, shape] : shapes_) {
    int64_t elements = 1;
    for (const int64_t n : shape) elements *= n;
    named.emplace_back(name, flat.narrow(0, BeginOf(name), elements).view(shape));
  }
  return named;
}

Status Parameters::Load(const io::Safetensors& checkpoint) {
  schema::ModelConfig found = config_;
  NOSA_RETURN_IF_ERROR(schema::ValidateTensors(checkpoint, &found));
  const at::NoGradGuard no_grad;
  for (const auto& [name, value] : NamedIn(master_)) {
    if (!checkpoint.Has(name)) continue;  // importance that the checkpoint has not learnt
    NOSA_ASSIGN_OR_RETURN(const ConstTensorView tensor, checkpoint.Get(name));
    value.copy_(at::from_blob(const_cast<std::byte*>(tensor.bytes()), value.sizes(),
                              at::TensorOptions().dtype(TorchType(tensor.dtype()))));
  }
  return Status::Ok();
}

Leaves::Leaves(const Parameters& parameters) : gradient(at::zeros_like(parameters.master())) {
  const schema::ModelConfig& config = parameters.config();
  const auto leaf = [&](const std::string& name, std::vector<int64_t> shape) {
    int64_t elements = 1;
    for (const int64_t n : shape) elements *= n;
    const int64_t begin = parameters.BeginOf(name);
    const at::Tensor value = parameters.master().narrow(0, begin, elements).view(shape).detach();
    value.set_requires_grad(true);
    value.mutable_grad() = gradient.narrow(0, begin, elements).view(shape);
    return value;
  };
  layers.resize(static_cast<size_t>(config.num_layers));
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size, dim = config.head_dim,
                kv_heads = config.num_kv_heads;
  embedding = leaf("model.embed_tokens.weight", {config.vocab_size, hidden});
  final_norm = leaf("model.norm.weight", {hidden});
  head = config.tie_embeddings ? embedding : leaf("lm_head.weight", {config.vocab_size, hidden});
  for (int i = 0; i < config.num_layers; ++i) {
    LayerLeaves& layer = layers[static_cast<size_t>(i)];
    const std::string prefix = fmt::format("model.layers.{}.", i);
    layer.input_norm = leaf(prefix + "input_layernorm.weight", {hidden});
    layer.post_norm = leaf(prefix + "post_attention_layernorm.weight", {hidden});
    layer.qkv = leaf(prefix + "self_attn.q_proj.weight", {(config.num_heads + 2 * kv_heads) * dim, hidden});
    layer.o = leaf(prefix + "self_attn.o_proj.weight", {hidden, config.num_heads * dim});
    layer.gate_up = leaf(prefix + "mlp.gate_proj.weight", {2 * inner, hidden});
    layer.down = leaf(prefix + "mlp.down_proj.weight", {hidden, inner});
    if (!config.has_importance) continue;
    layer.delta = leaf(prefix + "self_attn.delta.weight", {kv_heads, kv_heads * dim});
    layer.a = leaf(prefix + "self_attn.A", {kv_heads});
  }
}

}  // namespace nosa::train
