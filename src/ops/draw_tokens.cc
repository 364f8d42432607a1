#include "ops/draw_tokens.h"

#include "ops/check_views.h"
#include "ops/draw_weight.h"

namespace nosa::ops {

void Check(const DrawTokensArgs& args) {
  CheckRank(args.logits, "draw_tokens: logits", 2);
  CheckView(args.logits, "draw_tokens: logits", DType::kF32, args.logits.shape());
  const size_t rows = static_cast<size_t>(args.logits.dim(0));
  NOSA_CHECK(args.params.size() == rows && args.positions.size() == rows && args.ids.size() == rows,
             "draw_tokens: logits {} with {} parameters, {} positions, {} ids", args.logits.shape().ToString(),
             args.params.size(), args.positions.size(), args.ids.size());
  NOSA_CHECK(rows == 0 || (args.logits.dim(1) > 0 && args.logits.dim(1) <= kMostDrawnFrom),
             "draw_tokens: one of 1 to {} tokens is drawn, found logits {}", kMostDrawnFrom,
             args.logits.shape().ToString());
}

OpCost Cost(const DrawTokensArgs& args) {
  return {.bytes = ViewBytes(args.logits) + static_cast<double>(args.params.size_bytes()) +
                   static_cast<double>(args.positions.size_bytes()) + static_cast<double>(args.ids.size_bytes()),
          .flops = static_cast<double>(args.logits.shape().elements())};
}

}  // namespace nosa::ops
