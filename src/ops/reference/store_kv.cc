#include "ops/store_kv.h"

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void store_kv(Backend&, Stream, const StoreKvArgs& args) {
  const int64_t tokens = args.k.dim(0), heads = args.k.dim(1), k_dim = args.k.dim(2), v_dim = args.v.dim(2);
  for (int64_t m = 0; m < tokens; ++m) {
    for (int64_t g = 0; g < heads; ++g) {
      const KvRow& row = args.rows[static_cast<size_t>(m * heads + g)];
      for (int64_t d = 0; d < k_dim; ++d) {
        StoreFloat(row.k, args.dtype, static_cast<size_t>(d), args.k.row<float>(m)[g * k_dim + d]);
      }
      for (int64_t d = 0; d < v_dim; ++d) {
        StoreFloat(row.v, args.dtype, static_cast<size_t>(d), args.v.row<float>(m)[g * v_dim + d]);
      }
      if (row.s != nullptr) *row.s = args.s.empty() ? 0.0f : args.s.row<float>(m)[g];
    }
  }
}

}  // namespace nosa::ops::reference
