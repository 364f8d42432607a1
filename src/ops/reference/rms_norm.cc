#include "ops/rms_norm.h"

#include <cmath>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void rms_norm(Backend&, Stream, const RmsNormArgs& args) {
  const int64_t width = args.x.dim(1);
  for (int64_t m = 0; m < args.x.rows(); ++m) {
    const float* x = args.x.row<float>(m);
    double squares = 0;
    for (int64_t n = 0; n < width; ++n) squares += static_cast<double>(x[n]) * x[n];
    const double factor = 1 / std::sqrt(squares / static_cast<double>(width) + args.eps);
    for (int64_t n = 0; n < width; ++n) {
      const size_t i = static_cast<size_t>(n);
      StoreFloat(args.y.row_bytes(m), args.y.dtype(), i,
                 static_cast<float>(x[n] * factor * LoadFloat(args.weight.bytes(), args.weight.dtype(), i)));
    }
  }
}

}  // namespace nosa::ops::reference
