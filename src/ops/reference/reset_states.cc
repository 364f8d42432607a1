#include "ops/reset_states.h"

#include <limits>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void reset_states(Backend&, Stream, const ResetStatesArgs& args) {
  const int64_t heads = args.states.count * args.states.heads;
  for (int64_t i = 0; i < heads; ++i) {
    args.states.m[i] = -std::numeric_limits<float>::infinity();
    args.states.l[i] = 0;
    for (int64_t d = 0; d < args.states.v_dim; ++d) args.states.acc[i * args.states.v_dim + d] = 0;
  }
}

}  // namespace nosa::ops::reference
