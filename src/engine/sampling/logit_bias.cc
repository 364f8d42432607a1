// Logit bias (OpenAI API): a number added to the logits of named tokens. With the mask before it, it cannot bring back
// what a grammar forbids.
#include "engine/sampling.h"

namespace nosa::engine {
namespace {

class LogitBiasStage final : public SamplingStage {
 public:
  std::string_view name() const override { return "logit_bias"; }
  bool Active(const SamplingParams& params) const override { return !params.logit_bias.empty(); }
  void Apply(SamplingState* state) const override {
    for (const auto& [token, bias] : state->params->logit_bias) {
      if (state->Has(token)) state->Set(token, state->logits[static_cast<size_t>(token)] + bias);
    }
  }
};

}  // namespace

std::unique_ptr<SamplingStage> MakeLogitBiasStage() { return std::make_unique<LogitBiasStage>(); }

}  // namespace nosa::engine
