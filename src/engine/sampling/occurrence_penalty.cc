// Presence and frequency penalty (OpenAI API): tokens that were generated lose, once, and for each time. The prompt
// does not count, as with OpenAI and vLLM.
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
    const SamplingParams& params = *state->params;
    for (const auto& [id, count] : times) {
      const float penalty = params.presence_penalty + params.frequency_penalty * static_cast<float>(count);
      if (state->Has(id)) state->Set(id, state->logits[static_cast<size_t>(id)] - penalty);
    }
  }
};

}  // namespace

std::unique_ptr<SamplingStage> MakeOccurrencePenaltyStage() { return std::make_unique<OccurrencePenaltyStage>(); }

}  // namespace nosa::engine
