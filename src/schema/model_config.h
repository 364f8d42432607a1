// What a checkpoint says about itself: `config.json` as validated plain data.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "io/json.h"
#include "tensor/dtype.h"

namespace nosa::schema {

// How positions turn into rotation angles (Hugging Face `rope_scaling`).
struct RopeConfig {
  enum class Scaling : uint8_t { kNone, kLinear, kLlama3 };
  double theta = 10000.0;
  Scaling scaling = Scaling::kNone;
  double factor = 1.0;
  // llama3 only.
  double low_freq_factor = 1.0;
  double high_freq_factor = 4.0;
  int64_t original_max_position = 8192;
};

// Names as in the NOSA paper's code; symbols as in docs/nosa.md.
struct SparseConfig {
  int block_size = 64;     // B, tokens
  int kernel_size = 32;    // ks, tokens per pooling window
  int kernel_stride = 16;  // st, tokens between windows
  int init_blocks = 1;     // k_init
  int window_size = 1024;  // tokens; k_local = window_size / block_size
  int topk = 64;           // k, blocks
  int query_topk = 16;     // k_q, blocks

  int local_blocks() const { return window_size / block_size; }
  int windows_per_block() const { return block_size / kernel_stride; }
  // k_init + k_local + k_q: the size of the query-aware part, forced blocks included.
  int query_blocks() const { return init_blocks + local_blocks() + query_topk; }
  // Says which numbers do not fit together. The engine needs: all positive, stride divides kernel and
  // block, window_size >= block_size and a multiple of it, topk >= query_blocks() and >= the forced blocks.
  Status Validate() const;
};

struct ModelConfig {
  std::string family;        // a name of model/families.def
  std::string architecture;  // as config.json says it
  int num_layers = 0;
  int hidden_size = 0;
  int num_heads = 0;     // H
  int num_kv_heads = 0;  // G
  int head_dim = 0;      // D, given or hidden_size / num_heads
  int intermediate_size = 0;
  int vocab_size = 0;
  int64_t max_position = 0;  // tokens
  double rms_norm_eps = 1e-5;
  bool tie_embeddings = false;
  bool has_importance = false;  // `delta` and `A` are in the checkpoint: set by ValidateTensors
  bool sparse_config_given = false;
  DType dtype = DType::kF32;  // of the checkpoint's matrices (torch_dtype)
  TokenId bos_token = -1;
  std::vector<TokenId> eos_tokens;
  RopeConfig rope;
  SparseConfig sparse;

  int group_size() const { return num_heads / num_kv_heads; }
};

// Reads and validates. Errors (kInvalidArgument, one sentence naming field, expectation and finding):
// missing, non-positive or absurd sizes (bounds keep the bytes of the whole model within 64 bits), heads not a multiple
// of KV heads, odd head size, hidden_act other than silu, attention_bias or mlp_bias true (kUnimplemented), unknown
// architecture (lists the known ones), unknown rope scaling, sliding_window or quantization_config other than null
// (kUnimplemented), a sparse_config that Validate refuses. `what` names the text in messages ("config.json").
Result<ModelConfig> ParseModelConfig(const io::Json& config, std::string_view what);
Result<ModelConfig> ReadModelConfig(const std::filesystem::path& directory);

}  // namespace nosa::schema
