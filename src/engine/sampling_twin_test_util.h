// A second reading of the sampling stages and of the draw, in plain double precision over whole vocabularies: what each
// token's probability is.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <span>
#include <vector>

#include "engine/sampling.h"

namespace nosa::engine {

inline std::vector<size_t> ByFallingProbability(const std::vector<double>& p) {
  std::vector<size_t> order(p.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[a] > p[b]; });
  return order;
}

inline void Normalize(std::vector<double>* p) {
  const double sum = std::accumulate(p->begin(), p->end(), 0.0);
  for (double& x : *p) x /= sum;
}

// Probabilities of all tokens after every stage and cut; params.temperature > 0 and finite logits.
inline std::vector<double> TwinProbabilities(std::span<const float> logits, const SamplingParams& params,
                                             const TokenContext& context) {
  std::vector<double> x(logits.begin(), logits.end());
  for (const auto& [token, bias] : params.logit_bias) x[static_cast<size_t>(token)] += bias;
  for (size_t i = 0; i < x.size(); ++i) {
    if (std::find(context.tokens.begin(), context.tokens.end(), static_cast<TokenId>(i)) == context.tokens.end())
      continue;
    x[i] = x[i] > 0 ? x[i] / params.repetition_penalty : x[i] * params.repetition_penalty;
  }
  const std::span<const TokenId> answer = context.tokens.last(context.generated);
  for (size_t i = 0; i < x.size(); ++i) {
    const auto times = std::count(answer.begin(), answer.end(), static_cast<TokenId>(i));
    if (times > 0) x[i] -= params.presence_penalty + params.frequency_penalty * static_cast<double>(times);
  }
  const double largest = *std::max_element(x.begin(), x.end());
  std::vector<double> p;
  for (const double v : x) p.push_back(std::exp((v - largest) / params.temperature));
  Normalize(&p);
  std::vector<size_t> order = ByFallingProbability(p);
  if (params.top_k > 0) {
    for (size_t i = static_cast<size_t>(params.top_k); i < order.size(); ++i) p[order[i]] = 0;
    Normalize(&p);
  }
  if (params.top_p < 1) {
    double sum = 0;
    for (const size_t i : order) {
      const bool reached = sum >= params.top_p;
      sum += p[i];
      if (reached) p[i] = 0;
    }
    Normalize(&p);
  }
  const double most = *std::max_element(p.begin(), p.end());
  for (double& v : p) v = v < params.min_p * most * (1 - 1e-9) ? 0 : v;
  Normalize(&p);
  return p;
}

}  // namespace nosa::engine
