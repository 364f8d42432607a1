#include "ops/importance.h"

#include <cmath>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void importance(Backend&, Stream, const ImportanceArgs& args) {
  for (int64_t m = 0; m < args.v.rows(); ++m) {
    const float* v = args.v.row<float>(m);
    for (int64_t g = 0; g < args.v.dim(1); ++g) {
      double x = 0;
      for (int64_t c = 0; c < args.delta.dim(1); ++c) {
        x += static_cast<double>(v[c]) * LoadFloat(args.delta.row_bytes(g), args.delta.dtype(), static_cast<size_t>(c));
      }
      // log(1 + e^x) = max(x, 0) + log(1 + e^-|x|), whose exponential cannot overflow.
      const double softplus = std::fmax(x, 0.0) + std::log1p(std::exp(-std::abs(x)));
      args.s.row<float>(m)[g] =
          static_cast<float>(softplus * LoadFloat(args.a.bytes(), args.a.dtype(), static_cast<size_t>(g)));
    }
  }
}

}  // namespace nosa::ops::reference
