#include "ops/sequence_select.h"

namespace nosa::ops {

void Check(const SequenceSelectArgs& args) {
  const SequenceSizes size = SizesOf(args.q, args.tokens, args.kv_heads, "sequence_select: q");
  CheckFloats(args.q, "sequence_select: q", args.q.shape());
  CheckPacked(args.q, "sequence_select: q");
  NOSA_CHECK(args.kernel_stride > 0 && args.kernel_size % args.kernel_stride == 0 && args.kernel_size > 0 &&
                 args.block_size % args.kernel_stride == 0 && args.block_size > 0,
             "sequence_select: windows of {} tokens every {} for blocks of {}", args.kernel_size, args.kernel_stride,
             args.block_size);
  NOSA_CHECK(!args.rule.every_block && args.rule.init_blocks >= 0 && args.rule.local_blocks >= 1,
             "sequence_select: {} first and {} local blocks, or all", args.rule.init_blocks, args.rule.local_blocks);
  const int64_t windows = size.sequences * WindowsOf(size.tokens, args.kernel_size, args.kernel_stride);
  CheckView(args.keys, "sequence_select: keys", args.q.dtype(), {windows, size.kv_heads, size.dim});
  if (args.rule.topk > 0) CheckView(args.sigma, "sequence_select: sigma", DType::kF32, {windows, size.kv_heads});
  CheckView(args.masks, "sequence_select: masks", DType::kI64,
            {size.rows, size.kv_heads, MaskWords(size.tokens, args.block_size)});
  CheckPacked(args.keys, "sequence_select: keys");
  CheckPacked(args.sigma, "sequence_select: sigma");
  CheckPacked(args.masks, "sequence_select: masks");
}

OpCost Cost(const SequenceSelectArgs& args) {
  // A query sees half the windows of its sequence on average.
  const double seen = static_cast<double>(WindowsOf(args.tokens, args.kernel_size, args.kernel_stride)) / 2;
  return {.bytes = ViewBytes(args.q) + ViewBytes(args.keys) + ViewBytes(args.sigma) + ViewBytes(args.masks),
          .flops = 2 * static_cast<double>(args.q.shape().elements()) * seen};
}

}  // namespace nosa::ops
