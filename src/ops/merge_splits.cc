#include "ops/merge_splits.h"

#include "ops/check_views.h"

namespace nosa::ops {

void Check(const MergeSplitsArgs& args) {
  const PartialStates& states = args.states;
  CheckRank(args.out, "merge_splits: out", 3);
  CheckFloats(args.out, "merge_splits: out", {args.out.dim(0), int64_t{args.kv_heads} * states.heads, states.v_dim});
  NOSA_CHECK(args.splits > 0 && states.count == args.out.dim(0) * args.kv_heads * args.splits,
             "merge_splits: {} states for {} splits of {} rows and {} KV heads", states.count, args.splits,
             args.out.dim(0), args.kv_heads);
}

OpCost Cost(const MergeSplitsArgs& args) {
  const double parts = static_cast<double>(args.states.count) * args.states.heads;
  const double channels = static_cast<double>(args.states.v_dim);
  return {.bytes = parts * (channels + 2) * 4 + ViewBytes(args.out), .flops = 3 * parts * channels};
}

}  // namespace nosa::ops
