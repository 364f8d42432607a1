#include "schema/random_checkpoint.h"

#include <cmath>
#include <span>
#include <system_error>

#include "base/rng.h"
#include "io/safetensors.h"
#include "schema/tensors.h"
#include "tensor/buffer.h"

namespace nosa::schema {
namespace {

// How one tensor is drawn: mean + scale * N(0, 1), or uniform in [mean - scale, mean + scale).
struct Draw {
  double mean = 0.0;
  double scale = 0.0;
  bool uniform = false;
};

Draw DrawFor(const ModelConfig& config, const TensorSpec& spec) {
  const auto is = [&](std::string_view suffix) { return spec.name.ends_with(suffix); };
  // Logits have the spread of |x| times the head's rows, |x| being sqrt(hidden) after the last norm.
  const double head = 2.0 / std::sqrt(config.hidden_size);
  const double embedding = config.tie_embeddings ? head : 1.0;
  // What the layers add together is as large as the embedding, so that tokens stay distinguishable.
  const double branch = embedding / std::sqrt(2.0 * config.num_layers);
  const double fan_in = spec.shape.rank() > 1 ? 1.0 / std::sqrt(static_cast<double>(spec.shape[1])) : 0.0;
  if (is("embed_tokens.weight")) return {0.0, embedding};
  if (is("lm_head.weight")) return {0.0, head};
  if (is("norm.weight")) return {1.0, 0.1};  // not exactly 1, or a forgotten norm weight would pass
  if (is("self_attn.A")) return {0.6, 0.3, true};
  if (is("o_proj.weight") || is("down_proj.weight")) return {0.0, branch * fan_in};
  // Attention logits of spread 2: with 1, pooled keys would score almost alike and selection would be noise.
  if (is("q_proj.weight")) return {0.0, 2.0 * fan_in};
  return {0.0, fan_in};  // k, v, gate, up and delta: outputs near 1
}

void Fill(const Draw& draw, uint64_t seed, uint64_t stream, TensorView tensor) {
  const Philox random(seed, stream);
  const size_t count = static_cast<size_t>(tensor.shape().elements());
  for (size_t i = 0; i < count; ++i) {
    const double unit = draw.uniform ? 2.0 * random.Uniform(i) - 1.0 : random.Normal(i);
    StoreFloat(tensor.bytes(), tensor.dtype(), i, static_cast<float>(draw.mean + draw.scale * unit));
  }
}

const char* TorchName(DType dtype) {
  switch (dtype) {
    case DType::kBF16: return "bfloat16";
    case DType::kF16: return "float16";
    default: return "float32";
  }
}

io::Json RopeToJson(const RopeConfig& rope) {
  switch (rope.scaling) {
    case RopeConfig::Scaling::kNone: return nullptr;
    case RopeConfig::Scaling::kLinear: return {{"rope_type", "linear"}, {"factor", rope.factor}};
    case RopeConfig::Scaling::kLlama3: break;
  }
  return {{"rope_type", "llama3"},
          {"factor", rope.factor},
          {"low_freq_factor", rope.low_freq_factor},
          {"high_freq_factor", rope.high_freq_factor},
          {"original_max_position_embeddings", rope.original_max_position}};
}

io::Json SparseToJson(const SparseConfig& sparse) {
  return {{"block_size", sparse.block_size},       {"kernel_size", sparse.kernel_size},
          {"kernel_stride", sparse.kernel_stride}, {"init_blocks", sparse.init_blocks},
          {"window_size", sparse.window_size},     {"topk", sparse.topk},
          {"query_topk", sparse.query_topk}};
}

}  // namespace

io::Json ConfigToJson(const ModelConfig& config) {
  io::Json json = {{"architectures", io::Json::array({config.architecture})},
                   {"model_type", "llama"},
                   {"hidden_act", "silu"},
                   {"num_hidden_layers", config.num_layers},
                   {"hidden_size", config.hidden_size},
                   {"num_attention_heads", config.num_heads},
                   {"num_key_value_heads", config.num_kv_heads},
                   {"head_dim", config.head_dim},
                   {"intermediate_size", config.intermediate_size},
                   {"vocab_size", config.vocab_size},
                   {"max_position_embeddings", config.max_position},
                   {"rms_norm_eps", config.rms_norm_eps},
                   {"tie_word_embeddings", config.tie_embeddings},
                   {"torch_dtype", TorchName(config.dtype)},
                   {"rope_theta", config.rope.theta},
                   {"rope_scaling", RopeToJson(config.rope)},
                   {"eos_token_id", config.eos_tokens}};
  if (config.bos_token >= 0) json["bos_token_id"] = config.bos_token;
  if (config.sparse_config_given) json["sparse_config"] = SparseToJson(config.sparse);
  return json;
}

Status WriteRandomCheckpoint(const std::filesystem::path& directory, const ModelConfig& config, uint64_t seed,
                             DType dtype) {
  if (dtype != DType::kF32 && dtype != DType::kBF16) {
    return InvalidArgument("expected f32 or bf16 for a random checkpoint, found {}", DTypeName(dtype));
  }
  ModelConfig written = config;
  written.dtype = dtype;
  const io::Json json = ConfigToJson(written);
  NOSA_RETURN_IF_ERROR(ParseModelConfig(json, "the config of a random checkpoint").status());

  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return IoError("cannot make the directory {}: {}", directory.string(), error.message());
  const std::string text = json.dump(1) + "\n";
  NOSA_RETURN_IF_ERROR(
      io::WriteFileAtomically(directory / "config.json", AsBytes(std::span(text.data(), text.size()))));

  io::SafetensorsWriter writer;
  std::vector<Buffer> buffers;  // the writer borrows them
  uint64_t stream = 0;
  for (const TensorSpec& spec : ExpectedTensors(written)) {
    ++stream;  // counted for tensors left out too, so that the rest does not depend on them
    if (spec.optional && !config.has_importance) continue;
    buffers.push_back(Buffer::Host(static_cast<size_t>(spec.shape.elements()) * DTypeBytes(dtype)));
    const TensorView tensor = buffers.back().View(dtype, spec.shape);
    Fill(DrawFor(written, spec), seed, stream, tensor);
    writer.Add(spec.name, tensor);
  }
  writer.AddMetadata("format", "pt");
  return writer.Write(directory / "model.safetensors");
}

}  // namespace nosa::schema
