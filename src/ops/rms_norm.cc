#include "ops/rms_norm.h"

#include "ops/check_views.h"

namespace nosa::ops {

void Check(const RmsNormArgs& args) {
  CheckRank(args.x, "rms_norm: x", 2);
  CheckView(args.x, "rms_norm: x", DType::kF32, args.x.shape());
  CheckFloats(args.weight, "rms_norm: weight", {args.x.dim(1)});
  CheckFloats(args.y, "rms_norm: y", args.x.shape());
  if (args.y.dtype() == DType::kBF16) CheckApart(args.y, "rms_norm: y", args.x, "x");
  NOSA_CHECK(args.eps >= 0, "rms_norm: expected eps >= 0, found {}", args.eps);
}

OpCost Cost(const RmsNormArgs& args) {
  return {.bytes = ViewBytes(args.x) + ViewBytes(args.y) + ViewBytes(args.weight),
          .flops = 4.0 * static_cast<double>(args.x.shape().elements())};
}

}  // namespace nosa::ops
