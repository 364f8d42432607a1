#include "ops/merge_states.h"

namespace nosa::ops {

void Check(const MergeStatesArgs& args) {
  const PartialStates& states = args.states;
  NOSA_CHECK(args.out.shape().rank() == 3 && args.out.dtype() == DType::kF32,
             "expected out f32 [R, H, Dv], found {} {}", DTypeName(args.out.dtype()), args.out.shape().ToString());
  NOSA_CHECK(args.kv_heads > 0 && args.out.dim(1) == static_cast<int64_t>(args.kv_heads) * states.heads &&
                 args.out.dim(2) == states.v_dim,
             "expected out [R, {} x {}, {}], found {}", args.kv_heads, states.heads, states.v_dim,
             args.out.shape().ToString());
  const auto lists = static_cast<size_t>(args.out.rows() * args.kv_heads);
  NOSA_CHECK(args.offsets.size() == lists + 1, "expected {} offsets for out {}, found {}", lists + 1,
             args.out.shape().ToString(), args.offsets.size());
  for (size_t i = 0; i < lists; ++i) {
    NOSA_CHECK(args.offsets[i] <= args.offsets[i + 1], "offset {} is {}, the next {}", i, args.offsets[i],
               args.offsets[i + 1]);
  }
  NOSA_CHECK(args.offsets.front() >= 0 && static_cast<size_t>(args.offsets.back()) <= args.order.size(),
             "offsets from {} to {} in an order of {} states", args.offsets.front(), args.offsets.back(),
             args.order.size());
  for (const int32_t state : args.order) {
    NOSA_CHECK(state >= 0 && state < states.count, "state {} in the order of {} states", state, states.count);
  }
}

OpCost Cost(const MergeStatesArgs& args) {
  const double parts = static_cast<double>(args.order.size()) * args.states.heads;
  const double outputs = static_cast<double>(args.out.shape().elements());
  return {.bytes = parts * (args.states.v_dim + 2) * 4 + outputs * 4, .flops = parts * 3 * args.states.v_dim + outputs};
}

}  // namespace nosa::ops
