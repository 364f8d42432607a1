#include "ops/rope.h"

#include <cmath>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void rope(Backend&, Stream, const RopeArgs& args) {
  const size_t half = args.inv_freq.size();
  for (int64_t m = 0; m < args.x.rows(); ++m) {
    for (size_t i = 0; i < half; ++i) {
      const float angle = static_cast<float>(args.positions[static_cast<size_t>(m)]) * args.inv_freq[i];
      const double cosine = std::cos(static_cast<double>(angle));
      const double sine = std::sin(static_cast<double>(angle));
      for (int64_t h = 0; h < args.x.dim(1); ++h) {
        float* x = args.x.row<float>(m) + h * args.x.dim(2);
        const double first = x[i];
        const double second = x[i + half];
        x[i] = static_cast<float>(first * cosine - second * sine);
        x[i + half] = static_cast<float>(second * cosine + first * sine);
      }
    }
  }
}

}  // namespace nosa::ops::reference
