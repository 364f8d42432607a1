#include "ops/embed.h"

#include "ops/check_views.h"

namespace nosa::ops {

void Check(const EmbedArgs& args) {
  CheckRank(args.table, "embed: table", 2);
  CheckFloats(args.table, "embed: table", args.table.shape());
  const int64_t vocab = args.table.dim(0);
  CheckView(args.y, "embed: y", DType::kF32, {static_cast<int64_t>(args.ids.size()), args.table.dim(1)});
  for (size_t m = 0; m < args.ids.size(); ++m) {
    NOSA_CHECK(args.ids[m] >= 0 && args.ids[m] < vocab, "embed: ids[{}] is {}, the table has {} rows", m, args.ids[m],
               vocab);
  }
}

OpCost Cost(const EmbedArgs& args) {
  const double elements = static_cast<double>(args.y.shape().elements());
  return {.bytes = elements * static_cast<double>(DTypeBytes(args.table.dtype()) + sizeof(float)), .flops = 0};
}

}  // namespace nosa::ops
