#include "ops/store_kv.h"

namespace nosa::ops {

void Check(const StoreKvArgs& args) {
  NOSA_CHECK(args.k.shape().rank() == 3 && args.v.shape().rank() == 3,
             "expected k [M, G, D] and v [M, G, Dv], found {} and {}", args.k.shape().ToString(),
             args.v.shape().ToString());
  NOSA_CHECK(args.k.dtype() == DType::kF32 && args.v.dtype() == DType::kF32, "expected f32 k and v, found {} and {}",
             DTypeName(args.k.dtype()), DTypeName(args.v.dtype()));
  const int64_t tokens = args.k.dim(0), heads = args.k.dim(1);
  NOSA_CHECK(args.v.dim(0) == tokens && args.v.dim(1) == heads, "expected v [{}, {}, Dv] beside k {}, found {}", tokens,
             heads, args.k.shape().ToString(), args.v.shape().ToString());
  NOSA_CHECK(args.s.empty() || (args.s.dtype() == DType::kF32 && args.s.shape() == Shape({tokens, heads})),
             "expected s f32 [{}, {}] or none, found {} {}", tokens, heads, DTypeName(args.s.dtype()),
             args.s.shape().ToString());
  NOSA_CHECK(static_cast<int64_t>(args.rows.size()) == tokens * heads, "expected {} rows for k {}, found {}",
             tokens * heads, args.k.shape().ToString(), args.rows.size());
  NOSA_CHECK(args.dtype == DType::kF32 || args.dtype == DType::kBF16, "expected a cache of f32 or bf16, found {}",
             DTypeName(args.dtype));
  for (size_t i = 0; i < args.rows.size(); ++i) {
    NOSA_CHECK(args.rows[i].k != nullptr && args.rows[i].v != nullptr, "row {} of {} has no place", i,
               args.rows.size());
  }
}

OpCost Cost(const StoreKvArgs& args) {
  const double numbers = static_cast<double>(args.k.shape().elements() + args.v.shape().elements());
  const double importance = static_cast<double>(args.rows.size());
  return {.bytes = numbers * (4.0 + static_cast<double>(DTypeBytes(args.dtype))) + importance * 8, .flops = 0};
}

}  // namespace nosa::ops
