#include "ops/seat_attention.h"

#include "ops/check_seats.h"
#include "ops/check_views.h"

namespace nosa::ops {

void Check(const SeatAttentionArgs& args) {
  CheckSelection(args.selection, "seat_attention");
  CheckFrame(args.frame, "seat_attention");
  CheckRank(args.q, "seat_attention: q", 3);
  const int64_t rows = args.q.rows(), heads = args.q.dim(1);
  NOSA_CHECK(args.kv_heads > 0 && heads % args.kv_heads == 0, "seat_attention: {} heads for {} KV heads", heads,
             args.kv_heads);
  CheckView(args.q, "seat_attention: q", DType::kF32, {rows, heads, args.frame.k_dim});
  CheckFloats(args.out, "seat_attention: out", {rows, heads, args.frame.v_dim});
  NOSA_CHECK(args.positions.size() == static_cast<size_t>(rows), "seat_attention: {} rows, {} positions", rows,
             args.positions.size());
  NOSA_CHECK(args.addresses != nullptr, "seat_attention: addresses are missing");
  NOSA_CHECK(args.copies == nullptr || (args.copy_count != nullptr && args.arrivals != nullptr),
             "seat_attention: copies without {}", args.copy_count ? "arrivals" : "a count");
  NOSA_CHECK(!args.bias || args.frame.s_offset != 0, "seat_attention: a bias is asked for, the cache keeps none");
}

// What is fetched is known on the device only, and not counted.
OpCost Cost(const SeatAttentionArgs& args) {
  const double blocks = static_cast<double>(args.q.rows()) * args.kv_heads * args.selection.width;
  const double width = static_cast<double>(args.frame.k_dim) + args.frame.v_dim;
  const double group = static_cast<double>(args.q.dim(1)) / args.kv_heads;
  return {.bytes = blocks * args.frame.block_size *
                       (width * static_cast<double>(DTypeBytes(args.frame.dtype)) + (args.bias ? 4 : 0)) +
                   ViewBytes(args.q) + ViewBytes(args.out),
          .flops = 2 * blocks * args.frame.block_size * width * group};
}

}  // namespace nosa::ops
