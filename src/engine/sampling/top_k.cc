// Top-k: the k most likely tokens, ties to the lower id.
#include "engine/sampling.h"

namespace nosa::engine {
namespace {

class TopKStage final : public SamplingStage {
 public:
  std::string_view name() const override { return "top_k"; }
  bool Active(const SamplingParams& params) const override { return params.top_k > 0; }
  void Apply(SamplingState* state) const override { state->KeepBest(static_cast<size_t>(state->params->top_k)); }
};

}  // namespace

std::unique_ptr<SamplingStage> MakeTopKStage() { return std::make_unique<TopKStage>(); }

}  // namespace nosa::engine
