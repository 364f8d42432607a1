#include "ops/argmax.h"

#include <cmath>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void argmax(Backend&, Stream, const ArgmaxArgs& args) {
  for (int64_t r = 0; r < args.logits.rows(); ++r) {
    const float* x = args.logits.row<float>(r);
    int64_t best = -1;
    for (int64_t i = 0; i < args.logits.dim(1); ++i) {
      if (!std::isnan(x[i]) && (best < 0 || x[i] > x[best])) best = i;
    }
    args.ids[static_cast<size_t>(r)] = static_cast<TokenId>(best < 0 ? 0 : best);
  }
}

}  // namespace nosa::ops::reference
