#include "model/random_config.h"

#include <fmt/ranges.h>

#include <array>

namespace nosa::model {
namespace {

struct RandomShape {
  std::string_view name;
  int layers, hidden, heads, inner;
};

// Group size 16, head size 128 and vocabulary as the published NOSA models have them; 2 KV heads throughout.
constexpr std::array<RandomShape, 3> kShapes = {
    {{"1b", 24, 2048, 32, 5632}, {"3b", 28, 3072, 32, 8192}, {"8b", 32, 4096, 32, 14336}}};

}  // namespace

std::vector<std::string> RandomConfigNames() {
  std::vector<std::string> names;
  for (const RandomShape& shape : kShapes) names.emplace_back(shape.name);
  return names;
}

Result<schema::ModelConfig> RandomConfig(std::string_view name) {
  for (const RandomShape& shape : kShapes) {
    if (shape.name != name) continue;
    schema::ModelConfig config;
    config.family = "llama";
    config.architecture = "SparseLlamaForCausalLM";
    config.num_layers = shape.layers;
    config.hidden_size = shape.hidden;
    config.num_heads = shape.heads;
    config.num_kv_heads = 2;
    config.head_dim = 128;
    config.intermediate_size = shape.inner;
    config.vocab_size = 73448;
    config.max_position = 1 << 20;
    config.has_importance = true;
    config.sparse_config_given = true;
    config.dtype = DType::kBF16;
    config.rope.theta = 500000.0;
    return config;
  }
  return InvalidArgument("unknown random model \"{}\"; known: {}", name, fmt::join(RandomConfigNames(), ", "));
}

}  // namespace nosa::model
