// Which tensors a checkpoint of a family must hold, and their shapes.
#pragma once

#include <string>
#include <vector>

#include "base/status.h"
#include "io/safetensors.h"
#include "schema/model_config.h"

namespace nosa::schema {

struct TensorSpec {
  std::string name;
  Shape shape;
  bool optional = false;  // importance tensors: all of them or none
  bool by_row = false;    // a table: what a token needs of it is one row
};

// In file order: embeddings, layers, final norm, head (absent when tied). Matrices are [out, in].
std::vector<TensorSpec> ExpectedTensors(const ModelConfig& config);

// Checks names, shapes ("expected model.layers.0.self_attn.k_proj.weight [128, 448], found [128, 512] in
// model.safetensors") and dtypes (f32 or bf16; f16 is kUnimplemented), and sets config->has_importance:
// true when every layer has delta and A, an error when only some have. A tensor that is not expected is
// kUnimplemented (biases, norms of q and k, more layers: ignoring them would serve another model), except
// tables of RoPE and a head beside tied embeddings.
Status ValidateTensors(const io::Safetensors& checkpoint, ModelConfig* config);

// 64-bit hash of shapes, dtypes and a sample of the bytes of every tensor: enough to tell checkpoints apart
// so that cached KV is never served to another one. O(tensors), touches 4 KiB of each.
uint64_t WeightsFingerprint(const io::Safetensors& checkpoint);

// Frequencies [head_dim / 2], radians per token, with scaling applied (Hugging Face
// `modeling_rope_utils.py`: default, linear, llama3).
std::vector<float> RopeInverseFrequencies(const RopeConfig& rope, int head_dim);

}  // namespace nosa::schema
