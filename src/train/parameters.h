// A model's parameters: float32, named as in checkpoints, in one piece of memory, so that what is done to all of them
// (the optimiser, the norm of the gradient, saving) is a few operations whatever their number.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/status.h"
#include "io/safetensors.h"
#include "schema/model_config.h"
#include "train/aten.h"

namespace nosa::train {

// What the optimiser treats alike; in this order in memory.
enum class ParameterGroup : uint8_t { kMatrices, kNorms, kDelta, kGain };  // kGain: A
inline constexpr int kParameterGroups = 4;

// How tensors begin that no checkpoint gives.
struct InitOptions {
  uint64_t seed = 0;
  // Standard deviation of matrices; what adds to the residual stream is drawn smaller by sqrt(2 layers).
  double scale = 0.02;
  // Of delta; A begins at 1. Zero would keep delta's gradient alive and A's too, but every token's importance equal.
  double delta_scale = 0.1;
};

// Values, and where each parameter lies among them.
class Parameters {
 public:
  // As `config` says, with delta and A when config.has_importance. Values are a pure function of (config, options).
  Parameters(const schema::ModelConfig& config, const InitOptions& options, at::Device device);

  // Takes every tensor that `checkpoint` has; those it lacks keep their values (delta and A of a dense checkpoint).
  // Fails as schema::ValidateTensors, naming the tensor and both shapes.
  Status Load(const io::Safetensors& checkpoint);

  // The parameters in `flat`, a tensor of master's size (master itself, a gradient, a moment): views, by the names of
  // schema::ExpectedTensors and in its order.
  std::vector<std::pair<std::string, at::Tensor>> NamedIn(const at::Tensor& flat) const;
  // Elements from the beginning to the parameter of that name, which there is.
  int64_t BeginOf(const std::string& name) const { return begins_.at(name); }

  const at::Tensor& master() const { return master_; }  // [size] f32; gaps between tensors are zero
  // A group's part of master: [begin, begin + count).
  struct Range {
    int64_t begin = 0, count = 0;
  };
  Range group(ParameterGroup group) const { return groups_[static_cast<size_t>(group)]; }
  int64_t count() const { return count_; }  // parameters, without gaps
  const schema::ModelConfig& config() const { return config_; }

 private:
  schema::ModelConfig config_;
  at::Tensor master_;
  Range groups_[kParameterGroups];
  int64_t count_ = 0;
  std::vector<std::pair<std::string, std::vector<int64_t>>> shapes_;  // in file order
  std::map<std::string, int64_t> begins_;
};

// Tensors of one layer, leaves of autograd. Those that multiply the same input are one matrix.
struct LayerLeaves {
  at::Tensor input_norm, post_norm;  // [N]
  at::Tensor qkv;                    // [(H + 2 G) D, N]: q_proj, k_proj, v_proj
  at::Tensor o;                      // [N, H D]
  at::Tensor gate_up;                // [2 I, N]: gate_proj, up_proj
  at::Tensor down;                   // [N, I]
  at::Tensor delta, a;               // [G, G D], [G]; undefined without importance
};

// The parameters as autograd sees them: the same values, with gradients of their own. Several threads that learn from
// different sequences have one each.
struct Leaves {
  // Shares the memory of parameters.master().
  explicit Leaves(const Parameters& parameters);

  at::Tensor embedding;   // [V, N]
  at::Tensor final_norm;  // [N]
  at::Tensor head;        // [V, N]; the embedding when tied
  std::vector<LayerLeaves> layers;
  at::Tensor gradient;  // [size of master] f32: backward passes add to it
};

}  // namespace nosa::train
