#include "ops/swiglu.h"

#include <cmath>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void swiglu(Backend&, Stream, const SwigluArgs& args) {
  for (int64_t m = 0; m < args.gate.rows(); ++m) {
    const float* gate = args.gate.row<float>(m);
    const float* up = args.up.row<float>(m);
    for (int64_t n = 0; n < args.gate.dim(1); ++n) {
      StoreFloat(args.y.row_bytes(m), args.y.dtype(), static_cast<size_t>(n),
                 static_cast<float>(gate[n] / (1 + std::exp(-static_cast<double>(gate[n]))) * up[n]));
    }
  }
}

}  // namespace nosa::ops::reference
