#include "ops/product.h"

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void product(Backend&, Stream, const ProductArgs& args) {
  for (const ProductArgs::Term& term : args.terms) {
    const bool round = term.w.dtype() == DType::kBF16 && args.x.dtype() == DType::kF32;
    for (int64_t m = 0; m < args.x.rows(); ++m) {
      float* y = term.y.row<float>(m);
      for (int64_t n = 0; n < term.w.rows(); ++n) {
        double sum = term.accumulate ? y[n] : 0;
        for (int64_t k = 0; k < args.x.dim(1); ++k) {
          const float x = LoadFloat(args.x.row_bytes(m), args.x.dtype(), static_cast<size_t>(k));
          const float input = round ? static_cast<float>(BFloat16(x)) : x;
          sum += static_cast<double>(input) * LoadFloat(term.w.row_bytes(n), term.w.dtype(), static_cast<size_t>(k));
        }
        y[n] = static_cast<float>(sum);
      }
    }
  }
}

}  // namespace nosa::ops::reference
