// Small models and runs for the suites of this directory.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>
#include <memory>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "tests/train/planted_facts.h"
#include "train/trainer.h"

namespace nosa::train {

// Blocks of 16 tokens, of which a query reads 8: at 256 tokens, half of them are left out.
inline schema::ModelConfig FactModel(int hidden, int layers) {
  schema::ModelConfig config;
  config.family = "llama";
  config.architecture = "SparseLlamaForCausalLM";
  config.num_layers = layers;
  config.hidden_size = hidden;
  config.num_heads = hidden / 32;
  config.num_kv_heads = 2;
  config.head_dim = 32;
  config.intermediate_size = 640 * hidden / 192;
  config.vocab_size = PlantedFacts::kVocabulary;
  config.max_position = 512;
  config.tie_embeddings = true;
  config.has_importance = true;
  config.sparse_config_given = true;
  config.rope.theta = 10000;
  config.sparse = {.block_size = 16,
                   .kernel_size = 4,
                   .kernel_stride = 2,
                   .init_blocks = 1,
                   .window_size = 16,
                   .topk = 8,
                   .query_topk = 5};
  return config;
}

// One thread each.
inline std::vector<std::unique_ptr<ops::Backend>> CpuWorkers(int count) {
  std::vector<std::unique_ptr<ops::Backend>> workers;
  for (int i = 0; i < count; ++i) workers.push_back(cpu::MakeCpuBackend(1));
  return workers;
}
inline std::vector<ops::Backend*> Borrowed(const std::vector<std::unique_ptr<ops::Backend>>& owned) {
  std::vector<ops::Backend*> borrowed;
  for (const auto& backend : owned) borrowed.push_back(backend.get());
  return borrowed;
}

inline Mixture Facts(uint64_t seed) {
  std::vector<Share> shares;
  shares.push_back({std::make_unique<PlantedFacts>(seed), 1});
  return Mixture(std::move(shares), seed);
}

// An empty directory of that name.
inline std::filesystem::path FreshDirectory(const std::string& name) {
  const std::filesystem::path path = std::filesystem::path(testing::TempDir()) / name;
  std::filesystem::remove_all(path);
  return path;
}

}  // namespace nosa::train
