#include "ops/softmax.h"

#include "ops/check_views.h"

namespace nosa::ops {

void Check(const SoftmaxArgs& args) {
  CheckRank(args.x, "softmax: x", 2);
  CheckView(args.x, "softmax: x", DType::kF32, args.x.shape());
  CheckView(args.y, "softmax: y", DType::kF32, args.x.shape());
  NOSA_CHECK(args.scale > 0, "softmax: expected scale > 0, found {}", args.scale);
}

OpCost Cost(const SoftmaxArgs& args) {
  // An exponential counts as one operation.
  return {.bytes = ViewBytes(args.x) + ViewBytes(args.y),
          .flops = 5.0 * static_cast<double>(args.x.shape().elements())};
}

}  // namespace nosa::ops
