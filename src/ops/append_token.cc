#include "ops/append_token.h"

#include "ops/check_seats.h"
#include "ops/check_views.h"

namespace nosa::ops {

void Check(const AppendTokenArgs& args) {
  CheckFrame(args.frame, "append_token");
  CheckLanes(args.lanes, "append_token");
  const int64_t seats = args.lanes.seats, heads = args.lanes.kv_heads;
  CheckView(args.k, "append_token: k", DType::kF32, {seats, heads, args.frame.k_dim});
  CheckView(args.v, "append_token: v", DType::kF32, {seats, heads, args.frame.v_dim});
  if (!args.s.empty()) CheckView(args.s, "append_token: s", DType::kF32, {seats, heads});
  NOSA_CHECK(
      args.positions.size() == static_cast<size_t>(seats) && args.states.size() == static_cast<size_t>(seats * heads),
      "append_token: {} seats with {} positions and {} states", seats, args.positions.size(), args.states.size());
  NOSA_CHECK(args.kernel_stride > 0 && args.kernel_size > 0 && args.kernel_size % args.kernel_stride == 0,
             "append_token: expected a window that is a multiple of its stride {}, found {}", args.kernel_stride,
             args.kernel_size);
}

OpCost Cost(const AppendTokenArgs& args) {
  const double numbers = static_cast<double>(args.lanes.seats) * args.lanes.kv_heads *
                         (static_cast<double>(args.frame.k_dim) + args.frame.v_dim + 1);
  return {.bytes = numbers * (4 + 2 * static_cast<double>(DTypeBytes(args.frame.dtype))), .flops = numbers};
}

}  // namespace nosa::ops
