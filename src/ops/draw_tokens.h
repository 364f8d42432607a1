// Sampling: one token of each row of logits, the same on every backend, to the bit.
#pragma once

#include <cstdint>
#include <span>

#include "base/ids.h"
#include "ops/ops.h"

namespace nosa::ops {

// How the token of a row is drawn.
struct DrawParams {
  float temperature = 0;  // >= 0, finite; 0: the likeliest token, whatever the others say
  int32_t top_k = 0;      // >= 0; 0: all
  float top_p = 1;        // in (0, 1]
  float min_p = 0;        // in [0, 1]
  uint64_t seed = 0;
};

// ids[r] = the token drawn from row r. Logits that are not finite are left out; of a row that has no others, token 0.
//
// Temperature 0: the lowest id of the largest logit. Else, in this order (ops/draw_weight.h has the arithmetic):
//   temperature  Each token has an integer weight, WeightOf(DistanceOf(its logit)): 2^38 exp((logit - largest) /
//                temperature), rounded. The likeliest have 2^38. A token whose weight rounds to 0, less than 2^-39 of
//                the likeliest's, is not drawn.
//   top_k        Of the tokens by falling likelihood (rising distance, ties by rising id) the first top_k stay.
//   top_p        Of these the fewest first ones whose weights reach the share top_p of their sum.
//   min_p        Of these the ones whose weight is at least min_p times the likeliest's.
// Of the tokens left, in rising id order, the first whose weights, with all before it, exceed floor(u * their sum),
// where u in [0, 1) comes from Philox(seed).Block(counter), counter = positions[r] + ahead (DrawnPoint).
//
// Parameters and positions are read when the op runs: a recording draws by what they are at each run. A greedy row is
// read once, any other up to nine times more; nothing is sorted.
struct DrawTokensArgs {
  ConstTensorView logits;              // [R, V] f32; R = 0 or 1 <= V <= kMostDrawnFrom
  std::span<const DrawParams> params;  // [R]
  std::span<const int32_t> positions;  // [R]
  int32_t ahead = 0;                   // 1: the positions are those of the tokens before the drawn ones
  std::span<TokenId> ids;              // [R]
};

}  // namespace nosa::ops
