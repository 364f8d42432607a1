#include "engine/sampling.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/check.h"

namespace nosa::engine {

#define NOSA_STAGE(factory) std::unique_ptr<SamplingStage> factory();
#include "engine/sampling/stages.def"
#undef NOSA_STAGE

const std::vector<std::unique_ptr<SamplingStage>>& SamplingStages() {
  static const auto* const stages = [] {
    auto* made = new std::vector<std::unique_ptr<SamplingStage>>();
#define NOSA_STAGE(factory) made->push_back(factory());
#include "engine/sampling/stages.def"
#undef NOSA_STAGE
    return made;
  }();
  return *stages;
}

Status SamplingParams::Validate() const {
  // Written so that NaN fails too.
  if (!(temperature >= 0 && temperature <= 100))
    return InvalidArgument("temperature must be in [0, 100], found {}", temperature);
  if (top_k < 0) return InvalidArgument("top_k must not be negative, found {}", top_k);
  if (!(top_p > 0 && top_p <= 1)) return InvalidArgument("top_p must be in (0, 1], found {}", top_p);
  if (!(min_p >= 0 && min_p <= 1)) return InvalidArgument("min_p must be in [0, 1], found {}", min_p);
  if (!(repetition_penalty > 0 && repetition_penalty <= 100)) {
    return InvalidArgument("repetition_penalty must be in (0, 100], found {}", repetition_penalty);
  }
  for (const auto& [token, bias] : logit_bias) {
    if (!(bias >= -100 && bias <= 100))
      return InvalidArgument("logit_bias must be in [-100, 100], found {} for token {}", bias, token);
  }
  const auto in_range = [](float penalty) { return penalty >= -2 && penalty <= 2; };
  if (!in_range(presence_penalty))
    return InvalidArgument("presence_penalty must be in [-2, 2], found {}", presence_penalty);
  if (!in_range(frequency_penalty))
    return InvalidArgument("frequency_penalty must be in [-2, 2], found {}", frequency_penalty);
  return Status::Ok();
}

bool SamplingState::Has(TokenId id) const {
  return id >= 0 && static_cast<size_t>(id) < logits.size() && std::isfinite(logits[static_cast<size_t>(id)]);
}

void SamplingState::Set(TokenId id, float logit) {
  NOSA_DCHECK(Has(id), "token {} was dropped", id);
  constexpr float kMost = std::numeric_limits<float>::max();
  logits[static_cast<size_t>(id)] = std::clamp(logit, -kMost, kMost);
}

void SamplingState::Drop(TokenId id) { logits[static_cast<size_t>(id)] = -std::numeric_limits<float>::infinity(); }

std::span<const float> Sampler::ApplyStages(std::span<const float> logits, const SamplingParams& params,
                                            const TokenContext& context, const text::TokenMask* mask) {
  ops::Grow(*backend_, logits.size_bytes(), backend_->shared_memory(), &edited_);
  SamplingState state = {&params, context, mask, {edited_.as<float>(), logits.size()}};
  std::copy(logits.begin(), logits.end(), state.logits.begin());
  for (const auto& stage : SamplingStages()) {
    if (stage->Active(params)) stage->Apply(&state);
  }
  return state.logits;
}

TokenId Sampler::Sample(std::span<const float> logits, const SamplingParams& params, const TokenContext& context,
                        TokenPos pos, const text::TokenMask* mask) {
  const std::span<const float> row = params.plain() ? logits : ApplyStages(logits, params, context, mask);
  const float* data = row.data();
  if (params.temperature != 0 && !HostAddressable(backend_->compute_memory())) {
    // A draw reads the row some ten times: worth a copy of it on the device.
    ops::Grow(*backend_, row.size_bytes(), backend_->compute_memory(), &near_);
    backend_->Copy(near_.data(), data, row.size_bytes(), {});
    data = near_.as<float>();
  }
  ops::Grow(*backend_, sizeof(TokenId), backend_->shared_memory(), &id_);
  const ops::DrawParams draw = params.draw();
  const std::span<TokenId> ids = {id_.as<TokenId>(), 1};
  ops::draw_tokens(*backend_, {},
                   {.logits = ConstTensorView(data, DType::kF32, {1, static_cast<int64_t>(row.size())}),
                    .params = {&draw, 1},
                    .positions = {&pos, 1},
                    .ids = ids});
  backend_->Synchronize({});
  return ids[0];
}

}  // namespace nosa::engine
