#include "ops/window_scores.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {
namespace {

double Logit(const WindowScoresArgs& args, const float* q, const void* keys, int64_t w) {
  const int64_t dim = args.q.dim(2);
  double sum = 0;
  for (int64_t d = 0; d < dim; ++d) {
    const int64_t at = (w / kWindowTile * dim + d) * kWindowTile + w % kWindowTile;
    sum +=
        static_cast<double>(q[d]) * static_cast<double>(LoadFloat(keys, args.summary_dtype, static_cast<size_t>(at)));
  }
  return sum * static_cast<double>(args.scale);
}

}  // namespace

void window_scores(Backend&, Stream, const WindowScoresArgs& args) {
  const int64_t group = args.q.dim(1) / args.kv_heads, dim = args.q.dim(2), width = args.p.dim(2);
  for (int64_t r = 0; r < args.q.rows(); ++r) {
    const WindowScoresArgs::Row& row = args.rows[static_cast<size_t>(r)];
    if (row.windows == 0) continue;
    for (int64_t g = 0; g < args.kv_heads; ++g) {
      const void* keys = args.states[static_cast<size_t>(row.state_begin + g)].keys;
      std::vector<double> total(static_cast<size_t>(row.windows), 0.0), logits(total.size());
      for (int64_t h = g * group; h < (g + 1) * group; ++h) {
        for (size_t w = 0; w < logits.size(); ++w) {
          logits[w] = Logit(args, args.q.row<float>(r) + h * dim, keys, static_cast<int64_t>(w));
        }
        const double max = *std::max_element(logits.begin(), logits.end());
        double sum = 0;
        for (double& logit : logits) sum += logit = std::exp(logit - max);
        for (size_t w = 0; w < logits.size(); ++w) total[w] += logits[w] / sum;
      }
      float* out = args.p.row<float>(r) + g * width;
      for (size_t w = 0; w < total.size(); ++w) out[w] = static_cast<float>(total[w]);
    }
  }
}

}  // namespace nosa::ops::reference
