// The optimiser against LibTorch's own, which keeps every tensor by itself.
#include "train/adamw.h"

#include <gtest/gtest.h>
#include <torch/optim/adamw.h>

namespace nosa::train {
namespace {

schema::ModelConfig SmallConfig() {
  schema::ModelConfig config;
  config.family = "llama";
  config.num_layers = 2;
  config.hidden_size = 24;
  config.num_heads = 4;
  config.num_kv_heads = 2;
  config.head_dim = 6;
  config.intermediate_size = 40;
  config.vocab_size = 50;
  config.has_importance = true;
  return config;
}

TEST(AdamW, StepsAreThoseOfLibTorchGroupByGroup) {
  const AdamWOptions options = {.beta2 = 0.9, .weight_decay = 0.2, .delta_rate = 7, .gain_rate = 3};
  Parameters parameters(SmallConfig(), {.seed = 5, .scale = 0.3}, at::kCPU);
  AdamW optimizer(&parameters, options);
  constexpr double kRate = 1e-2;

  std::vector<torch::optim::OptimizerParamGroup> groups;
  std::vector<std::pair<std::string, at::Tensor>> copies;
  for (const auto& [name, value] : parameters.NamedIn(parameters.master())) {
    copies.emplace_back(name, value.clone().set_requires_grad(true));
    const bool delta = name.ends_with("delta.weight"), gain = name.ends_with("self_attn.A"),
               norm = name.ends_with("norm.weight");
    auto group = std::make_unique<torch::optim::AdamWOptions>(kRate * (delta ? 7 : gain ? 3 : 1));
    group->betas({options.beta1, options.beta2}).weight_decay(delta || gain || norm ? 0 : 0.2);
    groups.emplace_back(std::vector<at::Tensor>{copies.back().second}, std::move(group));
  }
  ASSERT_EQ(copies.size(), 3u + 2 * 11);
  torch::optim::AdamW theirs(groups);

  at::manual_seed(9);
  for (int step = 0; step < 5; ++step) {
    const at::Tensor gradient = at::randn_like(parameters.master());
    for (const auto& [name, part] : parameters.NamedIn(gradient)) {
      for (const auto& [copy_name, copy] : copies) {
        if (copy_name == name) copy.mutable_grad() = part * 0.5;
      }
    }
    optimizer.Step(gradient, kRate, 0.5);
    theirs.step();
    size_t i = 0;
    for (const auto& [name, value] : parameters.NamedIn(parameters.master())) {
      const double apart = (value - copies[i++].second.detach()).abs().max().item<double>();
      EXPECT_LE(apart, 2e-6) << name << " after step " << step + 1;
    }
  }
  EXPECT_EQ(optimizer.steps(), 5);
}

}  // namespace
}  // namespace nosa::train
