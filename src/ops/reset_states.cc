#include "ops/reset_states.h"

namespace nosa::ops {

void Check(const ResetStatesArgs& args) {
  const PartialStates& states = args.states;
  NOSA_CHECK(states.count >= 0 && states.heads > 0 && states.v_dim > 0, "{} states of {} heads of {} channels",
             states.count, states.heads, states.v_dim);
  NOSA_CHECK(states.count == 0 || (states.m != nullptr && states.l != nullptr && states.acc != nullptr),
             "{} states have no memory", states.count);
}

OpCost Cost(const ResetStatesArgs& args) {
  const double heads = static_cast<double>(args.states.count) * args.states.heads;
  return {.bytes = heads * (args.states.v_dim + 2) * 4, .flops = 0};
}

}  // namespace nosa::ops
