#include "schema/model_config.h"

#include <algorithm>
#include <array>

#include "schema/config_parts.h"

namespace nosa::schema {
namespace {

using internal::Fields;
using internal::Shown;

// Bounds ten times and more beyond any published model, chosen so that the bytes of a tensor, of a layer and
// of the whole model fit 64 bits with room: 2^23 query channels x 2^17 x 2^10 layers x 8 bytes = 2^53.
constexpr int64_t kMostLayers = 1 << 10;
constexpr int64_t kMostHidden = 1 << 17;
constexpr int64_t kMostHeads = 1 << 12;
constexpr int64_t kMostHeadDim = 1 << 11;
constexpr int64_t kMostIntermediate = 1 << 20;
constexpr int64_t kMostVocab = 1 << 24;
constexpr size_t kMostEosTokens = 64;

// Architectures whose layers have exactly the tensors and the arithmetic of Llama.
constexpr std::array<std::string_view, 3> kLlamaLike = {"LlamaForCausalLM", "SparseLlamaForCausalLM",
                                                        "MistralForCausalLM"};

Status ParseArchitecture(const Fields& fields, ModelConfig* config) {
  const io::Json& list = fields.At("architectures");
  if (list.is_array() && list.size() == 1 && list[0].is_string()) {
    config->architecture = list[0].get<std::string>();
    if (std::find(kLlamaLike.begin(), kLlamaLike.end(), config->architecture) != kLlamaLike.end()) {
      config->family = "llama";
      return Status::Ok();
    }
  }
  return InvalidArgument(
      "{}: expected architectures to name one of LlamaForCausalLM, SparseLlamaForCausalLM, "
      "MistralForCausalLM, found {}",
      fields.where(), Shown(list));
}

Status ReadSize(const Fields& fields, std::string_view key, int64_t most, int* size) {
  NOSA_ASSIGN_OR_RETURN(const int64_t value, fields.Int(key, 1, most));
  *size = static_cast<int>(value);
  return Status::Ok();
}

Status ParseHeads(const Fields& fields, ModelConfig* config) {
  NOSA_RETURN_IF_ERROR(ReadSize(fields, "num_attention_heads", kMostHeads, &config->num_heads));
  NOSA_ASSIGN_OR_RETURN(const int64_t kv_heads, fields.IntOr("num_key_value_heads", config->num_heads, 1, kMostHeads));
  config->num_kv_heads = static_cast<int>(kv_heads);
  if (config->num_heads % config->num_kv_heads != 0) {
    return InvalidArgument("{}: expected num_attention_heads a multiple of num_key_value_heads, found {} and {}",
                           fields.where(), config->num_heads, config->num_kv_heads);
  }
  if (!fields.Has("head_dim") && config->hidden_size % config->num_heads != 0) {
    return InvalidArgument("{}: expected head_dim, or hidden_size a multiple of num_attention_heads, found {} and {}",
                           fields.where(), config->hidden_size, config->num_heads);
  }
  NOSA_ASSIGN_OR_RETURN(const int64_t head_dim,
                        fields.IntOr("head_dim", config->hidden_size / config->num_heads, 1, kMostHeadDim));
  config->head_dim = static_cast<int>(head_dim);
  if (head_dim % 2 != 0) {
    return InvalidArgument("{}: expected an even head_dim, as RoPE rotates pairs, found {}", fields.where(), head_dim);
  }
  return Status::Ok();
}

Status ParseSizes(const Fields& fields, ModelConfig* config) {
  NOSA_RETURN_IF_ERROR(ReadSize(fields, "num_hidden_layers", kMostLayers, &config->num_layers));
  NOSA_RETURN_IF_ERROR(ReadSize(fields, "hidden_size", kMostHidden, &config->hidden_size));
  NOSA_RETURN_IF_ERROR(ReadSize(fields, "intermediate_size", kMostIntermediate, &config->intermediate_size));
  NOSA_RETURN_IF_ERROR(ReadSize(fields, "vocab_size", kMostVocab, &config->vocab_size));
  // 2048 and 1e-6: what Hugging Face's LlamaConfig takes when the file does not say.
  NOSA_ASSIGN_OR_RETURN(config->max_position, fields.IntOr("max_position_embeddings", 2048, 1, INT32_MAX));
  NOSA_ASSIGN_OR_RETURN(config->rms_norm_eps, fields.NumberOr("rms_norm_eps", 1e-6, 1e-30, 1.0));
  NOSA_ASSIGN_OR_RETURN(config->tie_embeddings, fields.BoolOr("tie_word_embeddings", false));
  return ParseHeads(fields, config);
}

// Refuses what would change the function without changing a size.
Status CheckVariant(const Fields& fields) {
  NOSA_ASSIGN_OR_RETURN(const std::string act, fields.StringOr("hidden_act", "silu"));
  if (act != "silu") return InvalidArgument("{}: expected hidden_act silu, found {}", fields.where(), Shown(act));
  for (const char* key : {"attention_bias", "mlp_bias"}) {
    NOSA_ASSIGN_OR_RETURN(const bool bias, fields.BoolOr(key, false));
    if (bias) return Unimplemented("{}: {} is true, projections with a bias are not implemented", fields.where(), key);
  }
  for (const char* key : {"sliding_window", "quantization_config"}) {
    if (fields.Has(key)) {
      return Unimplemented("{}: {} is {}, only null is implemented", fields.where(), key, Shown(fields.At(key)));
    }
  }
  return Status::Ok();
}

Result<TokenId> ParseToken(const Fields& fields, const char* key, const io::Json& value, int vocab) {
  const bool integer = value.is_number_integer();
  // An unsigned value above the signed range would turn negative in get<int64_t>, hence the two tests.
  const bool in_range =
      integer && (value.is_number_unsigned() ? value.get<uint64_t>() < static_cast<uint64_t>(vocab)
                                             : value.get<int64_t>() >= 0 && value.get<int64_t>() < vocab);
  if (!in_range) {
    return InvalidArgument("{}: expected {} from 0 to {}, found {}", fields.where(), key, vocab - 1, Shown(value));
  }
  return static_cast<TokenId>(value.get<int64_t>());
}

Status ParseTokens(const Fields& fields, ModelConfig* config) {
  if (fields.Has("bos_token_id")) {
    NOSA_ASSIGN_OR_RETURN(config->bos_token,
                          ParseToken(fields, "bos_token_id", fields.At("bos_token_id"), config->vocab_size));
  }
  if (!fields.Has("eos_token_id")) return Status::Ok();
  const io::Json& eos = fields.At("eos_token_id");
  const size_t count = eos.is_array() ? eos.size() : 1;
  if (count > kMostEosTokens) {
    return InvalidArgument("{}: expected at most {} ids in eos_token_id, found {}", fields.where(), kMostEosTokens,
                           count);
  }
  for (size_t i = 0; i < count; ++i) {
    NOSA_ASSIGN_OR_RETURN(const TokenId token,
                          ParseToken(fields, "eos_token_id", eos.is_array() ? eos[i] : eos, config->vocab_size));
    config->eos_tokens.push_back(token);
  }
  return Status::Ok();
}

Status ParseDTypeField(const Fields& fields, ModelConfig* config) {
  // Newer files say `dtype`, older ones `torch_dtype`.
  NOSA_ASSIGN_OR_RETURN(const std::string older, fields.StringOr("torch_dtype", "float32"));
  NOSA_ASSIGN_OR_RETURN(const std::string name, fields.StringOr("dtype", older));
  if (name == "float32")
    config->dtype = DType::kF32;
  else if (name == "bfloat16")
    config->dtype = DType::kBF16;
  else if (name == "float16")
    config->dtype = DType::kF16;
  else
    return InvalidArgument("{}: expected torch_dtype float32, bfloat16 or float16, found {}", fields.where(),
                           Shown(name));
  return Status::Ok();
}

}  // namespace

Result<ModelConfig> ParseModelConfig(const io::Json& json, std::string_view what) {
  NOSA_ASSIGN_OR_RETURN(const Fields fields, Fields::Of(json, std::string(what)));
  ModelConfig config;
  NOSA_RETURN_IF_ERROR(ParseArchitecture(fields, &config));
  NOSA_RETURN_IF_ERROR(CheckVariant(fields));
  NOSA_RETURN_IF_ERROR(ParseSizes(fields, &config));
  NOSA_RETURN_IF_ERROR(ParseTokens(fields, &config));
  NOSA_RETURN_IF_ERROR(ParseDTypeField(fields, &config));
  NOSA_ASSIGN_OR_RETURN(config.rope, internal::ParseRope(fields));
  NOSA_ASSIGN_OR_RETURN(config.sparse, internal::ParseSparse(fields));
  config.sparse_config_given = fields.Has("sparse_config");
  return config;
}

Result<ModelConfig> ReadModelConfig(const std::filesystem::path& directory) {
  NOSA_ASSIGN_OR_RETURN(const io::Json json, io::ReadJsonFile(directory / "config.json"));
  return ParseModelConfig(json, "config.json");
}

}  // namespace nosa::schema
