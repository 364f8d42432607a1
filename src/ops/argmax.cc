#include "ops/argmax.h"

#include "ops/check_views.h"

namespace nosa::ops {

void Check(const ArgmaxArgs& args) {
  CheckRank(args.logits, "argmax: logits", 2);
  CheckView(args.logits, "argmax: logits", DType::kF32, args.logits.shape());
  NOSA_CHECK(static_cast<int64_t>(args.ids.size()) == args.logits.dim(0),
             "argmax: expected {} ids for logits {}, found {}", args.logits.dim(0), args.logits.shape().ToString(),
             args.ids.size());
  NOSA_CHECK(args.logits.dim(1) > 0 || args.ids.empty(), "argmax: logits {} have no largest",
             args.logits.shape().ToString());
}

OpCost Cost(const ArgmaxArgs& args) {
  return {.bytes = ViewBytes(args.logits) + static_cast<double>(args.ids.size_bytes()),
          .flops = static_cast<double>(args.logits.shape().elements())};
}

}  // namespace nosa::ops
