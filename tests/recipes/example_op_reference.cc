#include "example_op.h"
#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void scale_rows(Backend&, Stream, const ScaleRowsArgs& args) {
  for (int64_t m = 0; m < args.x.rows(); ++m) {
    const double factor = *args.factor.row<float>(m);
    for (int64_t n = 0; n < args.x.dim(1); ++n) {
      args.y.row<float>(m)[n] = static_cast<float>(args.x.row<float>(m)[n] * factor);
    }
  }
}

}  // namespace nosa::ops::reference
