#include "ops/sequence_attention_grad.h"

namespace nosa::ops {

void Check(const SequenceAttentionGradArgs& args) {
  Check(args.forward);
  const ConstTensorView &q = args.forward.q, &k = args.forward.k;
  CheckView(args.dout, "sequence_attention_grad: dout", q.dtype(), q.shape());
  CheckView(args.dq, "sequence_attention_grad: dq", q.dtype(), q.shape());
  CheckView(args.dk, "sequence_attention_grad: dk", q.dtype(), k.shape());
  CheckView(args.dv, "sequence_attention_grad: dv", q.dtype(), k.shape());
  NOSA_CHECK(args.forward.s.empty() == args.ds.empty(), "sequence_attention_grad: ds without s, or s without ds");
  if (!args.ds.empty()) CheckView(args.ds, "sequence_attention_grad: ds", DType::kF32, args.forward.s.shape());
  for (const ConstTensorView& view : {args.dout, ConstTensorView(args.dq), ConstTensorView(args.dk),
                                      ConstTensorView(args.dv), ConstTensorView(args.ds)}) {
    CheckPacked(view, "sequence_attention_grad");
  }
}

OpCost Cost(const SequenceAttentionGradArgs& args) {
  const OpCost forward = Cost(args.forward);
  return {.bytes = 2 * forward.bytes, .flops = 2.5 * forward.flops};  // five products for two
}

}  // namespace nosa::ops
