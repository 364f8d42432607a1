#include "ops/merge_states.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {
namespace {

// Output of head `h` of a KV head's group, over the given states.
void MergeHead(const PartialStates& states, std::span<const int32_t> order, int h, float* out) {
  double max = -INFINITY, sum = 0;
  std::vector<double> acc(static_cast<size_t>(states.v_dim), 0.0);
  for (const int32_t state : order) {
    const int64_t i = static_cast<int64_t>(state) * states.heads + h;
    if (states.m[i] == -INFINITY) continue;
    const double m = std::max(max, static_cast<double>(states.m[i]));
    const double ours = std::exp(max - m), theirs = std::exp(static_cast<double>(states.m[i]) - m);
    sum = sum * ours + static_cast<double>(states.l[i]) * theirs;
    for (size_t d = 0; d < acc.size(); ++d) {
      const double part = static_cast<double>(states.acc[i * states.v_dim + static_cast<int64_t>(d)]);
      acc[d] = max == -INFINITY ? part : acc[d] * ours + part * theirs;
    }
    max = m;
  }
  for (size_t d = 0; d < acc.size(); ++d) out[d] = sum == 0 ? 0.0f : static_cast<float>(acc[d] / sum);
}

}  // namespace

void merge_states(Backend&, Stream, const MergeStatesArgs& args) {
  const int heads = args.states.heads;
  for (int64_t r = 0; r < args.out.rows(); ++r) {
    for (int g = 0; g < args.kv_heads; ++g) {
      const auto list = static_cast<size_t>(r * args.kv_heads + g);
      const auto begin = static_cast<size_t>(args.offsets[list]), end = static_cast<size_t>(args.offsets[list + 1]);
      for (int h = 0; h < heads; ++h) {
        MergeHead(args.states, args.order.subspan(begin, end - begin), h,
                  args.out.row<float>(r) + static_cast<int64_t>(g * heads + h) * args.states.v_dim);
      }
    }
  }
}

}  // namespace nosa::ops::reference
