// A grammar's mask: only tokens it allows (text/token_masks.h). First of all stages, so that the others weigh what may
// be drawn.
#include "engine/sampling.h"

namespace nosa::engine {
namespace {

class MaskStage final : public SamplingStage {
 public:
  std::string_view name() const override { return "mask"; }
  bool Active(const SamplingParams& params) const override { return params.masked; }
  void Apply(SamplingState* state) const override {
    const text::TokenMask* mask = state->mask;
    if (mask == nullptr) return;
    std::erase_if(state->candidates, [&](const Candidate& c) { return !mask->Allows(c.id); });
    if (!state->candidates.empty()) return;
    // Every logit that counts is broken: the text still stays in the language.
    TokenId first = 0;
    while (!mask->Allows(first)) ++first;
    state->candidates.push_back({first, 0});
    state->sorted = true;
  }
};

}  // namespace

std::unique_ptr<SamplingStage> MakeMaskStage() { return std::make_unique<MaskStage>(); }

}  // namespace nosa::engine
