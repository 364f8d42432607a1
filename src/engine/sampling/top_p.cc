// Top-p, or nucleus (Holtzman et al., arXiv 1904.09751): the fewest most likely tokens whose probability reaches p.
#include <cmath>

#include "engine/sampling.h"

namespace nosa::engine {
namespace {

class TopPStage final : public SamplingStage {
 public:
  std::string_view name() const override { return "top_p"; }
  bool Active(const SamplingParams& params) const override { return params.top_p < 1; }
  void Apply(SamplingState* state) const override {
    state->Sort();
    const float largest = state->candidates.front().logit;
    double total = 0;
    for (const Candidate& c : state->candidates) total += std::exp(static_cast<double>(c.logit - largest));
    const double wanted = state->params->top_p * total;
    double sum = 0;
    size_t n = 0;
    while (n < state->candidates.size() && (n == 0 || sum < wanted)) {
      sum += std::exp(static_cast<double>(state->candidates[n++].logit - largest));
    }
    state->candidates.resize(n);
  }
};

}  // namespace

std::unique_ptr<SamplingStage> MakeTopPStage() { return std::make_unique<TopPStage>(); }

}  // namespace nosa::engine
