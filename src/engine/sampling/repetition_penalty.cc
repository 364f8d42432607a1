// Repetition penalty (Keskar et al., CTRL, arXiv 1909.05858): tokens already in the context lose, once each.
#include <vector>

#include "engine/sampling.h"

namespace nosa::engine {
namespace {

class RepetitionPenaltyStage final : public SamplingStage {
 public:
  std::string_view name() const override { return "repetition_penalty"; }
  bool Active(const SamplingParams& params) const override { return params.repetition_penalty != 1; }
  void Apply(SamplingState* state) const override {
    // Marks, as sorting a long context for every token would take longer than the token.
    std::vector<bool> seen(state->logits.size());
    const float penalty = state->params->repetition_penalty;
    for (const TokenId id : state->context.tokens) {
      if (!state->Has(id) || seen[static_cast<size_t>(id)]) continue;
      seen[static_cast<size_t>(id)] = true;
      const float logit = state->logits[static_cast<size_t>(id)];
      state->Set(id, logit > 0 ? logit / penalty : logit * penalty);
    }
  }
};

}  // namespace

std::unique_ptr<SamplingStage> MakeRepetitionPenaltyStage() { return std::make_unique<RepetitionPenaltyStage>(); }

}  // namespace nosa::engine
