// Repetition penalty (Keskar et al., CTRL, arXiv 1909.05858): tokens already in the context lose, once each.
#include <algorithm>
#include <limits>
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
    std::vector<bool> seen;
    for (const TokenId id : state->context.tokens) {
      if (id < 0) continue;
      if (static_cast<size_t>(id) >= seen.size()) seen.resize(static_cast<size_t>(id) + 1);
      seen[static_cast<size_t>(id)] = true;
    }
    const float penalty = state->params->repetition_penalty;
    constexpr float kMost = std::numeric_limits<float>::max();
    for (Candidate& c : state->candidates) {
      if (static_cast<size_t>(c.id) >= seen.size() || !seen[static_cast<size_t>(c.id)]) continue;
      // Kept finite: two infinities would have no difference for the stages below.
      c.logit = std::clamp(c.logit > 0 ? c.logit / penalty : c.logit * penalty, -kMost, kMost);
    }
    state->sorted = false;
  }
};

}  // namespace

std::unique_ptr<SamplingStage> MakeRepetitionPenaltyStage() { return std::make_unique<RepetitionPenaltyStage>(); }

}  // namespace nosa::engine
