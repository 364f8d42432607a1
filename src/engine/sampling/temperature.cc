// Temperature: sharper below 1, flatter above.
#include <algorithm>

#include "engine/sampling.h"

namespace nosa::engine {
namespace {

class TemperatureStage final : public SamplingStage {
 public:
  std::string_view name() const override { return "temperature"; }
  bool Active(const SamplingParams& params) const override {
    return params.temperature != 0 && params.temperature != 1;
  }
  void Apply(SamplingState* state) const override {
    // From the largest logit, so that a tiny temperature gives differences towards -inf and not infinities of both
    // signs.
    float largest = state->candidates.front().logit;
    for (const Candidate& c : state->candidates) largest = std::max(largest, c.logit);
    for (Candidate& c : state->candidates) c.logit = (c.logit - largest) / state->params->temperature;
  }
};

}  // namespace

std::unique_ptr<SamplingStage> MakeTemperatureStage() { return std::make_unique<TemperatureStage>(); }

}  // namespace nosa::engine
