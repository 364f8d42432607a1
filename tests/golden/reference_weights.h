// The numbers of a checkpoint as doubles, in the form the reference's loops read.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "io/safetensors.h"
#include "schema/model_config.h"

namespace nosa::reference {

// y = W x for many x. Rows of W are stored in panels of kPanel outputs, [panel][in][kPanel], so that the
// inner loop runs over outputs: it vectorises without reordering any sum.
class Linear {
 public:
  static constexpr int kPanel = 8;
  Linear() = default;
  // matrix: [out, in], f32 or bf16.
  explicit Linear(ConstTensorView matrix);
  // x: [n, in] -> y: [n, out], both packed; y is overwritten. Sums run over `in` in order.
  void Apply(const double* x, int n, double* y) const;
  int out() const { return out_; }

 private:
  int in_ = 0, out_ = 0;
  std::vector<double> panels_;
};

struct LayerWeights {
  std::vector<double> attention_norm, mlp_norm;  // [hidden]
  Linear q, k, v, o, gate, up, down;
  std::vector<double> delta;  // [G, G * D]; empty without importance
  std::vector<double> a;      // [G]
};

class Weights {
 public:
  schema::ModelConfig config;
  std::vector<double> embedding;  // [vocab, hidden]
  std::vector<LayerWeights> layers;
  std::vector<double> final_norm;  // [hidden]
  Linear head;
  std::vector<float> inverse_frequency;  // [D / 2], float32 as Hugging Face keeps them
};

// Angle frequencies of RoPE, written from the published formulas and not shared with the schema room.
std::vector<float> InverseFrequencies(const schema::RopeConfig& rope, int head_dim);

}  // namespace nosa::reference
