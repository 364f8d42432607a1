// Checkpoints of random weights whose shapes the shipped model does not have, for the suites of this directory.
#pragma once

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "schema/random_checkpoint.h"

namespace nosa::engine {

// What they have in common; layers, sizes and sparsity are to be set.
inline schema::ModelConfig SmallModel() {
  schema::ModelConfig config;
  config.architecture = "SparseLlamaForCausalLM";
  config.vocab_size = 257;
  config.max_position = 2048;
  config.has_importance = true;
  config.sparse_config_given = true;
  return config;
}

// Block 16, windows 8/4, head size 32, one KV head, three layers.
inline schema::ModelConfig OneKvHead(bool tie_embeddings) {
  schema::ModelConfig config = SmallModel();
  config.num_layers = 3;
  config.hidden_size = 96;
  config.num_heads = 4;
  config.num_kv_heads = 1;
  config.head_dim = 32;
  config.intermediate_size = 112;
  config.tie_embeddings = tie_embeddings;
  config.sparse = {.block_size = 16,
                   .kernel_size = 8,
                   .kernel_stride = 4,
                   .init_blocks = 1,
                   .window_size = 32,
                   .topk = 12,
                   .query_topk = 5};
  return config;
}

// The directory of a checkpoint of that name, which is made on the first call.
inline std::string SmallCheckpoint(const std::string& name, const schema::ModelConfig& config, uint64_t seed) {
  static std::set<std::string> written;
  const std::string directory = testing::TempDir() + "/" + name;
  if (written.insert(name).second) {
    const Status status = schema::WriteRandomCheckpoint(directory, config, seed, DType::kF32);
    EXPECT_TRUE(status.ok()) << status.ToString();
  }
  return directory;
}

}  // namespace nosa::engine
