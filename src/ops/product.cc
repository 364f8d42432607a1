#include "ops/product.h"

#include "ops/check_views.h"

namespace nosa::ops {

void Check(const ProductArgs& args) {
  CheckRank(args.x, "product: x", 2);
  CheckFloats(args.x, "product: x", args.x.shape());
  for (const ProductArgs::Term& term : args.terms) {
    CheckRank(term.w, "product: w", 2);
    CheckFloats(term.w, "product: w", {term.w.dim(0), args.x.dim(1)});
    CheckView(term.y, "product: y", DType::kF32, {args.x.dim(0), term.w.dim(0)});
    NOSA_CHECK(args.x.dtype() == DType::kF32 || term.w.dtype() == DType::kBF16,
               "product: x is bf16, so every w must be, found {} {}", DTypeName(term.w.dtype()),
               term.w.shape().ToString());
    CheckApart(term.y, "product: y", args.x, "x");
  }
}

OpCost Cost(const ProductArgs& args) {
  OpCost cost{.bytes = ViewBytes(args.x), .flops = 0};
  for (const ProductArgs::Term& term : args.terms) {
    cost.bytes += ViewBytes(term.w) + ViewBytes(term.y) * (term.accumulate ? 2 : 1);
    cost.flops += 2.0 * static_cast<double>(args.x.rows()) * static_cast<double>(term.w.shape().elements());
  }
  return cost;
}

}  // namespace nosa::ops
