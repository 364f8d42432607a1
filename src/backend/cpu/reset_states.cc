#include "ops/reset_states.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "backend/cpu/cpu_backend.h"

namespace nosa::cpu {

void reset_states(ops::Backend& backend, ops::Stream, const ops::ResetStatesArgs& args) {
  const ops::PartialStates& states = args.states;
  const int64_t heads = states.count * states.heads;
  // 64 KiB a piece: below that a fork costs more than the writing.
  const int64_t grain = std::max<int64_t>(1, 16384 / states.v_dim);
  ContextOf(backend).pool->ParallelFor(heads, grain, [&](int64_t begin, int64_t end, int) {
    std::fill(states.m + begin, states.m + end, -std::numeric_limits<float>::infinity());
    std::fill(states.l + begin, states.l + end, 0.0f);
    std::memset(states.acc + begin * states.v_dim, 0,
                static_cast<size_t>((end - begin) * states.v_dim) * sizeof(float));
  });
}

}  // namespace nosa::cpu
