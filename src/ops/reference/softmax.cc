#include "ops/softmax.h"

#include <cmath>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void softmax(Backend&, Stream, const SoftmaxArgs& args) {
  const int64_t width = args.x.dim(1);
  for (int64_t r = 0; r < args.x.rows(); ++r) {
    const float* x = args.x.row<float>(r);
    float* y = args.y.row<float>(r);
    double max = -INFINITY;
    for (int64_t n = 0; n < width; ++n) max = std::fmax(max, x[n]);
    double sum = 0;
    for (int64_t n = 0; n < width; ++n) sum += std::exp((x[n] - max) * args.scale);
    for (int64_t n = 0; n < width; ++n) y[n] = static_cast<float>(std::exp((x[n] - max) * args.scale) / sum);
  }
}

}  // namespace nosa::ops::reference
