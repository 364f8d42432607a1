// Presence and frequency penalty (OpenAI API): tokens that were generated lose, once, and for each time. The prompt
// does not count, as with OpenAI and vLLM.
#include <algorithm>
#include <limits>
#include <unordered_map>

#include "engine/sampling.h"

namespace nosa::engine {
namespace {

class OccurrencePenaltyStage final : public SamplingStage {
 public:
  std::string_view name() const override { return "occurrence_penalty"; }
  bool Active(const SamplingParams& params) const override {
    return params.presence_penalty != 0 || params.frequency_penalty != 0;
  }
  void Apply(SamplingState* state) const override {
    std::unordered_map<TokenId, int> times;
    for (const TokenId id : state->context.tokens.last(state->context.generated)) ++times[id];
    constexpr float kMost = std::numeric_limits<float>::max();
    const SamplingParams& params = *state->params;
    for (Candidate& c : state->candidates) {
      const auto found = times.find(c.id);
      if (found == times.end()) continue;
      const float penalty = params.presence_penalty + params.frequency_penalty * static_cast<float>(found->second);
      c.logit = std::clamp(c.logit - penalty, -kMost, kMost);
      state->sorted = false;
    }
  }
};

}  // namespace

std::unique_ptr<SamplingStage> MakeOccurrencePenaltyStage() { return std::make_unique<OccurrencePenaltyStage>(); }

}  // namespace nosa::engine
