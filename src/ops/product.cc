#include "ops/product.h"

#include "ops/check_views.h"

namespace nosa::ops {

void Check(const ProductArgs& args) {
  CheckRank(args.x, "product: x", 2);
  CheckView(args.x, "product: x", DType::kF32, args.x.shape());
  for (const ProductArgs::Term& term : args.terms) {
    CheckRank(term.w, "product: w", 2);
    CheckWeight(term.w, "product: w", {term.w.dim(0), args.x.dim(1)});
    CheckView(term.y, "product: y", DType::kF32, {args.x.dim(0), term.w.dim(0)});
    if (args.x.empty() || term.y.empty()) continue;
    const std::byte* x_end = args.x.row_bytes(args.x.rows() - 1) + args.x.dim(1) * static_cast<int64_t>(sizeof(float));
    const std::byte* y_end = term.y.row_bytes(term.y.rows() - 1) + term.y.dim(1) * static_cast<int64_t>(sizeof(float));
    NOSA_CHECK(y_end <= args.x.bytes() || x_end <= term.y.bytes(), "product: y {} overlaps x {}",
               term.y.shape().ToString(), args.x.shape().ToString());
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
