#include "engine/logprobs.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace nosa::engine {

PositionLogprobs LogprobsOf(std::span<const float> logits, TokenId token, int top) {
  constexpr float kImpossible = -std::numeric_limits<float>::infinity();
  float largest = kImpossible;
  for (const float logit : logits) largest = std::isfinite(logit) ? std::max(largest, logit) : largest;
  double sum = 0;
  for (const float logit : logits) sum += std::isfinite(logit) ? std::exp(static_cast<double>(logit) - largest) : 0;
  const double log_sum = largest + std::log(sum);
  const auto logprob = [&](size_t i) {
    return std::isfinite(logits[i]) ? static_cast<float>(logits[i] - log_sum) : kImpossible;
  };

  PositionLogprobs result;
  result.token = {token, logprob(static_cast<size_t>(token))};
  if (top <= 0) return result;
  // The best so far as a heap whose front is the worst of them: one comparison for nearly every token.
  std::vector<size_t> best;
  const auto better = [&](size_t a, size_t b) { return logits[a] != logits[b] ? logits[a] > logits[b] : a < b; };
  for (size_t i = 0; i < logits.size(); ++i) {
    if (!std::isfinite(logits[i])) continue;
    if (best.size() == static_cast<size_t>(top)) {
      if (!better(i, best.front())) continue;
      std::pop_heap(best.begin(), best.end(), better);
      best.pop_back();
    }
    best.push_back(i);
    std::push_heap(best.begin(), best.end(), better);
  }
  std::sort_heap(best.begin(), best.end(), better);
  for (const size_t i : best) result.top.push_back({static_cast<TokenId>(i), logprob(i)});
  return result;
}

std::vector<PositionLogprobs> PromptLogprobsOf(ConstTensorView logits, TokenPos first, std::span<const TokenId> prompt,
                                               int top) {
  std::vector<PositionLogprobs> positions;
  if (first == 0) positions.push_back({{prompt.front(), std::numeric_limits<float>::quiet_NaN()}, {}});
  const auto vocab = static_cast<size_t>(logits.RowElements());
  for (int64_t r = 0; r < logits.rows(); ++r) {
    const size_t next = static_cast<size_t>(first + r) + 1;
    if (next == prompt.size()) break;
    positions.push_back(LogprobsOf({logits.row<float>(r), vocab}, prompt[next], top));
  }
  return positions;
}

}  // namespace nosa::engine
