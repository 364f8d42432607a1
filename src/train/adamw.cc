#include "train/adamw.h"

#include <cmath>

namespace nosa::train {

AdamW::AdamW(Parameters* parameters, const AdamWOptions& options)
    : parameters_(parameters),
      options_(options),
      first_(at::zeros_like(parameters->master())),
      second_(at::zeros_like(parameters->master())) {}

void AdamW::Step(const at::Tensor& gradient, double rate, double gradient_scale) {
  const at::NoGradGuard no_grad;
  ++steps_;
  const double correction1 = 1 - std::pow(options_.beta1, static_cast<double>(steps_));
  const double correction2 = 1 - std::pow(options_.beta2, static_cast<double>(steps_));
  const double part1 = (1 - options_.beta1) * gradient_scale;
  const double part2 = (1 - options_.beta2) * gradient_scale * gradient_scale;
  first_.mul_(options_.beta1).add_(gradient, part1);
  second_.mul_(options_.beta2).addcmul_(gradient, gradient, part2);
  for (int i = 0; i < kParameterGroups; ++i) {
    const auto group = static_cast<ParameterGroup>(i);
    const auto [begin, count] = parameters_->group(group);
    if (count == 0) continue;
    const at::Tensor values = parameters_->master().narrow(0, begin, count);
    double group_rate = rate;
    if (group == ParameterGroup::kDelta) group_rate *= options_.delta_rate;
    if (group == ParameterGroup::kGain) group_rate *= options_.gain_rate;
    if (group == ParameterGroup::kMatrices) values.mul_(1 - group_rate * options_.weight_decay);
    const at::Tensor spread = second_.narrow(0, begin, count).div(correction2).sqrt_().add_(options_.eps);
    values.addcdiv_(first_.narrow(0, begin, count), spread, -group_rate / correction1);
  }
}

}  // namespace nosa::train
