#include "ops/sequence_attention.h"

namespace nosa::ops {

void Check(const SequenceAttentionArgs& args) {
  CheckRank(args.k, "sequence_attention: k", 3);
  const SequenceSizes size = SizesOf(args.q, args.tokens, args.k.dim(1), "sequence_attention: q");
  const Shape keys = {size.rows, size.kv_heads, size.dim};
  NOSA_CHECK(args.block_size > 0, "sequence_attention: blocks of {} tokens", args.block_size);
  CheckFloats(args.q, "sequence_attention: q", args.q.shape());
  CheckView(args.k, "sequence_attention: k", args.q.dtype(), keys);
  CheckView(args.v, "sequence_attention: v", args.q.dtype(), keys);
  if (!args.s.empty()) CheckView(args.s, "sequence_attention: s", DType::kF32, {size.rows, size.kv_heads});
  CheckView(args.masks, "sequence_attention: masks", DType::kI64,
            {size.rows, size.kv_heads, MaskWords(size.tokens, args.block_size)});
  CheckView(args.out, "sequence_attention: out", args.q.dtype(), args.q.shape());
  CheckView(args.lse, "sequence_attention: lse", DType::kF32, {size.rows, size.heads});
  for (const ConstTensorView& view : {args.q, args.k, args.v, args.s, args.masks, ConstTensorView(args.out)}) {
    CheckPacked(view, "sequence_attention");
  }
}

OpCost Cost(const SequenceAttentionArgs& args) {
  // At most: every block in every mask.
  const double reads = static_cast<double>(args.tokens) / 2;
  return {.bytes = ViewBytes(args.q) + ViewBytes(args.k) + ViewBytes(args.v) + ViewBytes(args.s) +
                   ViewBytes(args.masks) + ViewBytes(args.out) + ViewBytes(args.lse),
          .flops = 4 * static_cast<double>(args.q.shape().elements()) * reads};
}

}  // namespace nosa::ops
