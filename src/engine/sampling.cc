#include "engine/sampling.h"

#include <algorithm>
#include <cmath>

#include "base/rng.h"
#include "ops/argmax.h"
#include "ops/softmax.h"

namespace nosa::engine {

#define NOSA_STAGE(factory) std::unique_ptr<SamplingStage> factory();
#include "engine/sampling/stages.def"
#undef NOSA_STAGE

namespace {

bool Before(const Candidate& a, const Candidate& b) { return a.logit != b.logit ? a.logit > b.logit : a.id < b.id; }

}  // namespace

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

void SamplingState::Sort() {
  if (sorted) return;
  std::sort(candidates.begin(), candidates.end(), Before);
  sorted = true;
}

void SamplingState::KeepBest(size_t n) {
  if (n >= candidates.size()) return;
  if (!sorted) {
    std::nth_element(candidates.begin(), candidates.begin() + static_cast<std::ptrdiff_t>(n) - 1, candidates.end(),
                     Before);
  }
  candidates.resize(n);
  Sort();
}

TokenId Sampler::Sample(std::span<const float> logits, const SamplingParams& params, const TokenContext& context,
                        TokenPos pos, const text::TokenMask* mask) {
  const int64_t vocab = static_cast<int64_t>(logits.size());
  if (params.likeliest()) {
    ops::Grow(*backend_, sizeof(TokenId), backend_->shared_memory(), &scratch_);
    const std::span<TokenId> ids = {scratch_.as<TokenId>(), 1};
    ops::argmax(*backend_, {}, {.logits = ConstTensorView(logits.data(), DType::kF32, {1, vocab}), .ids = ids});
    backend_->Synchronize({});
    const TokenId best = ids[0];
    // Else it is broken: below, such logits are left out, as they are whenever tokens are drawn.
    if (std::isfinite(logits[static_cast<size_t>(best)])) return best;
  }
  state_.params = &params;
  state_.context = context;
  state_.mask = mask;
  state_.sorted = false;
  state_.candidates.clear();
  for (size_t i = 0; i < logits.size(); ++i) {
    // A broken logit must not win, nor poison the sum.
    if (std::isfinite(logits[i])) state_.candidates.push_back({static_cast<TokenId>(i), logits[i]});
  }
  if (state_.candidates.empty() && mask == nullptr) return 0;
  for (const auto& stage : SamplingStages()) {
    if (stage->Active(params)) stage->Apply(&state_);
  }
  if (params.temperature == 0) {
    return std::min_element(state_.candidates.begin(), state_.candidates.end(), Before)->id;
  }
  const size_t n = state_.candidates.size();
  ops::Grow(*backend_, n * sizeof(float), backend_->shared_memory(), &scratch_);
  const std::span<float> probabilities = {scratch_.as<float>(), n};
  for (size_t i = 0; i < n; ++i) probabilities[i] = state_.candidates[i].logit;
  const TensorView row(probabilities.data(), DType::kF32, {1, static_cast<int64_t>(n)});
  ops::softmax(*backend_, {}, {.x = row, .y = row});
  backend_->Synchronize({});
  // Inverse of the cumulative distribution in the order the stages left, against the sum as computed, so that rounding
  // cannot run off the end.
  double total = 0;
  for (const float p : probabilities) total += p;
  double left = static_cast<double>(Philox(params.seed).Uniform(static_cast<uint64_t>(pos))) * total;
  for (size_t i = 0; i < n; ++i) {
    left -= probabilities[i];
    if (left < 0) return state_.candidates[i].id;
  }
  return state_.candidates[n - 1].id;
}

}  // namespace nosa::engine
