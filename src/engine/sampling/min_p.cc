// Min-p (Nguyen et al., arXiv 2407.01082): tokens at least min_p times as likely as the likeliest.
#include <algorithm>
#include <cmath>

#include "engine/sampling.h"

namespace nosa::engine {
namespace {

class MinPStage final : public SamplingStage {
 public:
  std::string_view name() const override { return "min_p"; }
  bool Active(const SamplingParams& params) const override { return params.min_p > 0; }
  void Apply(SamplingState* state) const override {
    float largest = state->candidates.front().logit;
    for (const Candidate& c : state->candidates) largest = std::max(largest, c.logit);
    const float least = largest + std::log(state->params->min_p);
    std::erase_if(state->candidates, [&](const Candidate& c) { return c.logit < least; });
  }
};

}  // namespace

std::unique_ptr<SamplingStage> MakeMinPStage() { return std::make_unique<MinPStage>(); }

}  // namespace nosa::engine
