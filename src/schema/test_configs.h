// Small valid configs for the tests of this room.
#pragma once

#include "io/json.h"
#include "schema/model_config.h"

namespace nosa::schema::testing {

// A config.json with every field this room reads.
inline io::Json FullJson() {
  return io::Json::parse(R"({
    "architectures": ["SparseLlamaForCausalLM"], "model_type": "llama", "hidden_act": "silu",
    "num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 16,
    "intermediate_size": 48, "vocab_size": 96, "max_position_embeddings": 4096, "rms_norm_eps": 1e-5,
    "tie_word_embeddings": true, "attention_bias": false, "mlp_bias": false, "torch_dtype": "bfloat16",
    "bos_token_id": 0, "eos_token_id": [1, 3], "rope_theta": 500000.0,
    "rope_scaling": {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                     "original_max_position_embeddings": 1024},
    "sparse_config": {"block_size": 16, "kernel_size": 8, "kernel_stride": 4, "init_blocks": 1, "window_size": 32,
                      "topk": 6, "query_topk": 2, "use_nope": false, "dense_len": 0}})");
}

// The same as a struct, with importance tensors.
inline ModelConfig SmallConfig() {
  ModelConfig config = ParseModelConfig(FullJson(), "config.json").value();
  config.has_importance = true;
  return config;
}

// `base` with the fields of `changes`; a null removes nothing, it sets null.
inline io::Json With(io::Json base, const io::Json& changes) {
  if (!changes.is_null()) base.update(changes);  // `{}` reads as null
  return base;
}

// The error of parsing FullJson() with `changes`; fails the calling test through an empty message if there is none.
inline Status ErrorWith(const io::Json& changes) {
  return ParseModelConfig(With(FullJson(), changes), "config.json").status();
}

}  // namespace nosa::schema::testing
