// Repetition penalty (Keskar et al., CTRL, arXiv 1909.05858): tokens already in the context lose, once each.
#include <algorithm>

#include "engine/sampling.h"

namespace nosa::engine {
namespace {

class RepetitionPenaltyStage final : public SamplingStage {
 public:
  std::string_view name() const override { return "repetition_penalty"; }
  bool Active(const SamplingParams& params) const override { return params.repetition_penalty != 1; }
  void Apply(SamplingState* state) const override {
    std::vector<TokenId> seen(state->context.begin(), state->context.end());
    std::sort(seen.begin(), seen.end());
    const float penalty = state->params->repetition_penalty;
    for (Candidate& c : state->candidates) {
      if (!std::binary_search(seen.begin(), seen.end(), c.id)) continue;
      c.logit = c.logit > 0 ? c.logit / penalty : c.logit * penalty;
    }
    state->sorted = false;
  }
};

}  // namespace

std::unique_ptr<SamplingStage> MakeRepetitionPenaltyStage() { return std::make_unique<RepetitionPenaltyStage>(); }

}  // namespace nosa::engine
