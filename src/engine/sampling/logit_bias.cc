// Logit bias (OpenAI API): a number added to the logits of named tokens. With the mask before it, it cannot bring back
// what a grammar forbids.
#include <algorithm>
#include <limits>
#include <unordered_map>

#include "engine/sampling.h"

namespace nosa::engine {
namespace {

class LogitBiasStage final : public SamplingStage {
 public:
  std::string_view name() const override { return "logit_bias"; }
  bool Active(const SamplingParams& params) const override { return !params.logit_bias.empty(); }
  void Apply(SamplingState* state) const override {
    std::unordered_map<TokenId, float> added;
    for (const auto& [token, bias] : state->params->logit_bias) added[token] += bias;
    constexpr float kMost = std::numeric_limits<float>::max();
    for (Candidate& c : state->candidates) {
      const auto bias = added.find(c.id);
      if (bias == added.end()) continue;
      c.logit = std::clamp(c.logit + bias->second, -kMost, kMost);
      state->sorted = false;
    }
  }
};

}  // namespace

std::unique_ptr<SamplingStage> MakeLogitBiasStage() { return std::make_unique<LogitBiasStage>(); }

}  // namespace nosa::engine
