#include "ops/seat_attention.h"

#include "ops/check_seats.h"
#include "ops/check_views.h"

namespace nosa::ops {

void Check(const SeatAttentionArgs& args) {
  CheckSelection(args.selection, "seat_attention");
  CheckFrame(args.frame, "seat_attention");
  NOSA_CHECK(args.kv_heads > 0 && args.states.heads > 0, "seat_attention: {} KV heads, groups of {}", args.kv_heads,
             args.states.heads);
  const int64_t rows = args.q.rows();
  CheckView(args.q, "seat_attention: q", DType::kF32, {rows, args.kv_heads * args.states.heads, args.frame.k_dim});
  NOSA_CHECK(args.positions.size() == static_cast<size_t>(rows), "seat_attention: {} rows, {} positions", rows,
             args.positions.size());
  NOSA_CHECK(args.states.count == rows * args.kv_heads * SplitsOf(args.selection.width) &&
                 args.states.v_dim == args.frame.v_dim,
             "seat_attention: expected {} states of {} channels, found {} of {}",
             rows * args.kv_heads * SplitsOf(args.selection.width), args.frame.v_dim, args.states.count,
             args.states.v_dim);
  NOSA_CHECK(args.addresses != nullptr && (args.late != nullptr || args.part == SeatAttentionArgs::Part::kAll),
             "seat_attention: {} missing", args.addresses ? "late is" : "addresses are");
  NOSA_CHECK(!args.bias || args.frame.s_offset != 0, "seat_attention: a bias is asked for, the cache keeps none");
}

OpCost Cost(const SeatAttentionArgs& args) {
  const double blocks = static_cast<double>(args.q.rows()) * args.kv_heads * args.selection.width;
  const double width = static_cast<double>(args.frame.k_dim) + args.frame.v_dim;
  return {.bytes = blocks * args.frame.block_size * (width * static_cast<double>(DTypeBytes(args.frame.dtype)) + (args.bias ? 4 : 0)),
          .flops = 2 * blocks * args.frame.block_size * width * args.states.heads};
}

}  // namespace nosa::ops
