#include "ops/swiglu.h"

#include "ops/check_views.h"

namespace nosa::ops {

void Check(const SwigluArgs& args) {
  CheckRank(args.gate, "swiglu: gate", 2);
  CheckView(args.gate, "swiglu: gate", DType::kF32, args.gate.shape());
  CheckView(args.up, "swiglu: up", DType::kF32, args.gate.shape());
  CheckFloats(args.y, "swiglu: y", args.gate.shape());
  if (args.y.dtype() == DType::kBF16) {
    CheckApart(args.y, "swiglu: y", args.gate, "gate");
    CheckApart(args.y, "swiglu: y", args.up, "up");
  }
}

OpCost Cost(const SwigluArgs& args) {
  // An exponential counts as one operation.
  return {.bytes = ViewBytes(args.gate) + ViewBytes(args.up) + ViewBytes(args.y),
          .flops = 4.0 * static_cast<double>(args.y.shape().elements())};
}

}  // namespace nosa::ops
