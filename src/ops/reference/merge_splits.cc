#include "ops/merge_splits.h"

#include <vector>

#include "ops/merge_states.h"
#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void merge_splits(Backend& backend, Stream stream, const MergeSplitsArgs& args) {
  std::vector<int32_t> offsets = {0}, order;
  for (int32_t i = 0; i < static_cast<int32_t>(args.states.count); ++i) {
    order.push_back(i);
    if ((i + 1) % args.splits == 0) offsets.push_back(i + 1);
  }
  std::vector<float> merged(static_cast<size_t>(args.out.shape().elements()));
  const TensorView out(merged.data(), DType::kF32, args.out.shape());
  reference::merge_states(
      backend, stream,
      {.states = args.states, .offsets = offsets, .order = order, .kv_heads = args.kv_heads, .out = out});
  for (int64_t r = 0; r < out.rows(); ++r) {
    for (int64_t i = 0; i < out.RowElements(); ++i) {
      StoreFloat(args.out.row_bytes(r), args.out.dtype(), static_cast<size_t>(i), out.row<float>(r)[i]);
    }
  }
}

}  // namespace nosa::ops::reference
