// A grammar's mask: only tokens it allows (text/token_masks.h). First of all stages, so that the others weigh what may
// be drawn.
#include "base/check.h"
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
    bool any = false;
    TokenId first = -1;  // of those that are allowed
    for (TokenId id = 0; id < static_cast<TokenId>(state->logits.size()); ++id) {
      const bool allowed = mask->Allows(id);
      if (allowed && first < 0) first = id;
      if (!allowed) state->Drop(id);
      any |= state->Has(id);
    }
    if (any) return;
    // Every logit that counts is broken: the text still stays in the language.
    NOSA_CHECK(first >= 0, "the mask allows none of {} tokens", state->logits.size());
    state->logits[static_cast<size_t>(first)] = 0;
  }
};

}  // namespace

std::unique_ptr<SamplingStage> MakeMaskStage() { return std::make_unique<MaskStage>(); }

}  // namespace nosa::engine
