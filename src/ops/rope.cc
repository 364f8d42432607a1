#include "ops/rope.h"

#include "ops/check_views.h"

namespace nosa::ops {

void Check(const RopeArgs& args) {
  CheckRank(args.x, "rope: x", 3);
  CheckView(args.x, "rope: x", DType::kF32, args.x.shape());
  NOSA_CHECK(static_cast<int64_t>(args.positions.size()) == args.x.dim(0),
             "rope: expected {} positions for x {}, found {}", args.x.dim(0), args.x.shape().ToString(),
             args.positions.size());
  NOSA_CHECK(2 * static_cast<int64_t>(args.inv_freq.size()) == args.x.dim(2),
             "rope: expected {} / 2 frequencies for x {}, found {}", args.x.dim(2), args.x.shape().ToString(),
             args.inv_freq.size());
}

OpCost Cost(const RopeArgs& args) {
  return {
      .bytes = 2 * ViewBytes(args.x) + static_cast<double>(args.positions.size_bytes() + args.inv_freq.size_bytes()),
      .flops = 3.0 * static_cast<double>(args.x.shape().elements())};
}

}  // namespace nosa::ops
