#include "ops/draw_tokens.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/draw_weight.h"
#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {
namespace {

struct Token {
  TokenId id;
  uint32_t distance;
  uint64_t weight;
};

uint64_t SumOf(const std::vector<Token>& tokens) {
  uint64_t sum = 0;
  for (const Token& token : tokens) sum += token.weight;
  return sum;
}

// Those that have a weight, the likeliest first.
std::vector<Token> Ranked(const float* logits, int64_t vocab, float largest, float temperature) {
  std::vector<Token> tokens;
  for (int64_t i = 0; i < vocab; ++i) {
    const uint32_t distance = DistanceOf(largest, logits[i], DistanceScale(temperature));
    if (WeightOf(distance) > 0) tokens.push_back({static_cast<TokenId>(i), distance, WeightOf(distance)});
  }
  std::stable_sort(tokens.begin(), tokens.end(),
                   [](const Token& a, const Token& b) { return a.distance < b.distance; });
  return tokens;
}

TokenId DrawOne(const float* logits, int64_t vocab, const DrawParams& params, uint64_t counter) {
  int64_t best = -1;
  for (int64_t i = 0; i < vocab; ++i) {
    if (std::isfinite(logits[i]) && (best < 0 || logits[i] > logits[best])) best = i;
  }
  if (best < 0) return 0;
  if (params.temperature == 0) return static_cast<TokenId>(best);
  std::vector<Token> tokens = Ranked(logits, vocab, logits[best], params.temperature);
  if (params.top_k > 0) tokens.resize(std::min(tokens.size(), static_cast<size_t>(params.top_k)));
  if (params.top_p < 1) {
    const uint64_t wanted = WeightToReach(params.top_p, SumOf(tokens));
    size_t n = 0;
    for (uint64_t sum = 0; sum < wanted; ++n) sum += tokens[n].weight;
    tokens.resize(n);
  }
  std::erase_if(tokens, [&](const Token& token) { return token.weight < LeastWeight(params.min_p); });
  std::sort(tokens.begin(), tokens.end(), [](const Token& a, const Token& b) { return a.id < b.id; });
  uint64_t left = DrawnPoint(params.seed, counter, SumOf(tokens));
  size_t i = 0;
  while (left >= tokens[i].weight) left -= tokens[i++].weight;
  return tokens[i].id;
}

}  // namespace

void draw_tokens(Backend&, Stream, const DrawTokensArgs& args) {
  for (size_t r = 0; r < args.ids.size(); ++r) {
    const uint64_t counter = static_cast<uint64_t>(int64_t{args.positions[r]} + args.ahead);
    args.ids[r] = DrawOne(args.logits.row<float>(static_cast<int64_t>(r)), args.logits.dim(1), args.params[r], counter);
  }
}

}  // namespace nosa::ops::reference
