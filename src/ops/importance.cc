#include "ops/importance.h"

#include "ops/check_views.h"

namespace nosa::ops {

void Check(const ImportanceArgs& args) {
  CheckRank(args.v, "importance: v", 3);
  CheckView(args.v, "importance: v", DType::kF32, args.v.shape());
  const int64_t heads = args.v.dim(1);
  CheckFloats(args.delta, "importance: delta", {heads, heads * args.v.dim(2)});
  CheckFloats(args.a, "importance: a", {heads});
  CheckView(args.s, "importance: s", DType::kF32, {args.v.dim(0), heads});
}

OpCost Cost(const ImportanceArgs& args) {
  return {.bytes = ViewBytes(args.v) + ViewBytes(args.delta) + ViewBytes(args.a) + ViewBytes(args.s),
          .flops = 2.0 * static_cast<double>(args.v.rows()) * static_cast<double>(args.delta.shape().elements())};
}

}  // namespace nosa::ops
