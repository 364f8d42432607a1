#include "ops/embed.h"

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void embed(Backend&, Stream, const EmbedArgs& args) {
  for (size_t m = 0; m < args.ids.size(); ++m) {
    const std::byte* row = args.table.row_bytes(args.ids[m]);
    float* y = args.y.row<float>(static_cast<int64_t>(m));
    for (int64_t n = 0; n < args.y.dim(1); ++n) y[n] = LoadFloat(row, args.table.dtype(), static_cast<size_t>(n));
  }
}

}  // namespace nosa::ops::reference
