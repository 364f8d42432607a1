// Partial attention: the softmax of a part of the keys, ready to be merged with other parts.
#pragma once

#include <cstdint>

namespace nosa::ops {

// S states of g heads each. State of head h: max logit m, sum l of exp(logit - m), acc = sum of exp(logit - m) * v.
// Merging (m1, l1, acc1) with (m2, l2, acc2): m = max(m1, m2), the rest scaled by exp(mi - m) and added, first plus
// second. The empty state is m = -inf, l = 0, acc = 0; merging it into or with another gives the other's bits.
struct PartialStates {
  float* m = nullptr;    // [S, g]
  float* l = nullptr;    // [S, g]
  float* acc = nullptr;  // [S, g, Dv]
  int64_t count = 0;     // S
  int heads = 0;         // g
  int v_dim = 0;         // Dv
};

}  // namespace nosa::ops
