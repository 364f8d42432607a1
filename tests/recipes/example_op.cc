#include "example_op.h"

#include "ops/check_views.h"

namespace nosa::ops {

void Check(const ScaleRowsArgs& args) {
  CheckRank(args.x, "scale_rows: x", 2);
  CheckView(args.x, "scale_rows: x", DType::kF32, args.x.shape());
  CheckView(args.factor, "scale_rows: factor", DType::kF32, {args.x.dim(0)});
  CheckView(args.y, "scale_rows: y", DType::kF32, args.x.shape());
}

OpCost Cost(const ScaleRowsArgs& args) {
  return {.bytes = ViewBytes(args.x) + ViewBytes(args.factor) + ViewBytes(args.y),
          .flops = static_cast<double>(args.y.shape().elements())};
}

}  // namespace nosa::ops
