#include "ops/product.h"

#include "backend/cpu/batched_product.h"
#include "backend/cpu/cpu_backend.h"
#include "backend/cpu/rowwise_product.h"

namespace nosa::cpu {

void product(ops::Backend& backend, ops::Stream, const ops::ProductArgs& args) {
  CpuContext& context = ContextOf(backend);
  if (args.mode == ops::ProductArgs::Mode::kBatched && context.batched_product->Run(context, args)) return;
  RowwiseProduct(context, args);
}

}  // namespace nosa::cpu
