#include "schema/tensors.h"

#include <algorithm>
#include <set>

namespace nosa::schema {
namespace {

constexpr std::string_view kDelta = "self_attn.delta.weight";
constexpr std::string_view kA = "self_attn.A";

std::string LayerTensor(int layer, std::string_view suffix) { return fmt::format("model.layers.{}.{}", layer, suffix); }

void AppendLayer(const ModelConfig& config, int layer, std::vector<TensorSpec>* specs) {
  const int64_t hidden = config.hidden_size, inner = config.intermediate_size, groups = config.num_kv_heads;
  const int64_t q = int64_t{config.num_heads} * config.head_dim, kv = groups * config.head_dim;
  const auto add = [&](std::string_view suffix, Shape shape, bool optional = false) {
    specs->push_back({LayerTensor(layer, suffix), shape, optional});
  };
  add("input_layernorm.weight", {hidden});
  add("self_attn.q_proj.weight", {q, hidden});
  add("self_attn.k_proj.weight", {kv, hidden});
  add("self_attn.v_proj.weight", {kv, hidden});
  add("self_attn.o_proj.weight", {hidden, q});
  add(kDelta, {groups, kv}, true);
  add(kA, {groups}, true);
  add("post_attention_layernorm.weight", {hidden});
  add("mlp.gate_proj.weight", {inner, hidden});
  add("mlp.up_proj.weight", {inner, hidden});
  add("mlp.down_proj.weight", {hidden, inner});
}

Status CheckTensor(const io::Safetensors& checkpoint, const TensorSpec& spec) {
  NOSA_ASSIGN_OR_RETURN(const ConstTensorView tensor, checkpoint.Get(spec.name));
  if (tensor.shape() != spec.shape) {
    return InvalidArgument("expected {} {}, found {} in {}", spec.name, spec.shape.ToString(),
                           tensor.shape().ToString(), checkpoint.FileOf(spec.name));
  }
  if (tensor.dtype() == DType::kF16) {
    return Unimplemented("{} is f16 in {}, only f32 and bf16 are implemented", spec.name, checkpoint.FileOf(spec.name));
  }
  if (tensor.dtype() != DType::kF32 && tensor.dtype() != DType::kBF16) {
    return InvalidArgument("expected {} as f32 or bf16, found {} in {}", spec.name, DTypeName(tensor.dtype()),
                           checkpoint.FileOf(spec.name));
  }
  return Status::Ok();
}

// A tensor nobody reads would be a different model served silently (biases, norms of q and k, more layers),
// except these, which files carry along: tables of RoPE, and a head beside tied embeddings.
bool MayBeIgnored(const ModelConfig& config, std::string_view name) {
  return name.ends_with("rotary_emb.inv_freq") || (config.tie_embeddings && name == "lm_head.weight");
}

Result<bool> CheckImportance(const io::Safetensors& checkpoint, int layers) {
  int found = 0;
  std::string missing;
  for (int layer = 0; layer < layers; ++layer) {
    for (const std::string_view suffix : {kDelta, kA}) {
      const std::string name = LayerTensor(layer, suffix);
      if (checkpoint.Has(name)) {
        ++found;
      } else if (missing.empty()) {
        missing = name;
      }
    }
  }
  if (found == 0) return false;
  if (found == 2 * layers) return true;
  return InvalidArgument(
      "expected the {} tensors delta.weight and A of all layers or none of them, found {}: {} is missing", 2 * layers,
      found, missing);
}

}  // namespace

std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config) {
  const int64_t hidden = config.hidden_size, vocab = config.vocab_size;
  std::vector<TensorSpec> specs;
  specs.push_back({.name = "model.embed_tokens.weight", .shape = {vocab, hidden}, .by_row = !config.tie_embeddings});
  for (int layer = 0; layer < config.num_layers; ++layer) AppendLayer(config, layer, &specs);
  specs.push_back({"model.norm.weight", {hidden}});
  if (!config.tie_embeddings) specs.push_back({"lm_head.weight", {vocab, hidden}});
  return specs;
}

Status ValidateTensors(const io::Safetensors& checkpoint, ModelConfig* config) {
  std::set<std::string, std::less<>> known;
  for (const TensorSpec& spec : ExpectedTensors(*config)) {
    known.insert(spec.name);
    if (spec.optional && !checkpoint.Has(spec.name)) continue;
    NOSA_RETURN_IF_ERROR(CheckTensor(checkpoint, spec));
  }
  NOSA_ASSIGN_OR_RETURN(config->has_importance, CheckImportance(checkpoint, config->num_layers));
  for (const std::string& name : checkpoint.Names()) {
    if (!known.contains(name) && !MayBeIgnored(*config, name)) {
      return Unimplemented("{} holds {}, which {} with {} layers does not have", checkpoint.FileOf(name), name,
                           config->architecture, config->num_layers);
    }
  }
  return Status::Ok();
}

}  // namespace nosa::schema
