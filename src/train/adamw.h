// AdamW (Loshchilov and Hutter, "Decoupled weight decay regularization", 2019) over parameters in one piece.
#pragma once

#include "train/parameters.h"

namespace nosa::train {

// Not torch::optim::AdamW: over parameters that lie in one piece the step is a dozen operations instead of a dozen for
// each tensor, and its state is saved as plain tensors.
struct AdamWOptions {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double weight_decay = 0.1;  // of matrices alone
  // Rates in units of the others'. A that goes through zero turns the order of importance around: it is to follow
  // delta, not to run before it.
  double delta_rate = 25, gain_rate = 5;
};

class AdamW {
 public:
  // Borrows the parameters; moments begin at zero.
  AdamW(Parameters* parameters, const AdamWOptions& options);

  // One step at `rate` along `gradient` (of master's size) times `gradient_scale` (clipping).
  void Step(const at::Tensor& gradient, double rate, double gradient_scale);

  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }
  const at::Tensor& first_moment() const { return first_; }
  const at::Tensor& second_moment() const { return second_; }

 private:
  Parameters* parameters_;
  AdamWOptions options_;
  at::Tensor first_, second_;
  int64_t steps_ = 0;
};

}  // namespace nosa::train
