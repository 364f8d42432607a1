#include "train/attention.h"

#include <cmath>

#include "ops/sequence_attention_grad.h"
#include "ops/sequence_select.h"

namespace nosa::train {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// Means over windows of the rows of x [B T, ...]: [B W, ...] of x's type, added in f32.
at::Tensor WindowMeans(const at::Tensor& x, const Method& method, int tokens) {
  std::vector<int64_t> sizes = x.sizes().vec();
  const int64_t windows = ops::WindowsOf(tokens, method.kernel_size, method.kernel_stride);
  const int64_t sequences = sizes[0] / tokens;
  sizes[0] = sequences * windows;
  if (windows == 0) return at::empty(sizes, x.options());
  const at::Tensor rows = x.view({sequences, tokens, -1});
  return rows.unfold(1, method.kernel_size, method.kernel_stride)
      .to(at::kFloat)
      .mean(-1)
      .to(x.scalar_type())
      .contiguous()
      .view(sizes);
}

ops::SequenceAttentionArgs ForwardArgs(const Method& method, int tokens, const variable_list& saved) {
  return {.q = ViewOf(saved[0]),
          .k = ViewOf(saved[1]),
          .v = ViewOf(saved[2]),
          .s = ViewOf(saved[3]),
          .masks = ViewOf(saved[4]),
          .tokens = tokens,
          .block_size = method.block_size,
          .scale = 1.0f / std::sqrt(static_cast<float>(saved[0].size(2))),
          .out = ViewOf(saved[5]),
          .lse = ViewOf(saved[6])};
}

class SparseAttention : public torch::autograd::Function<SparseAttention> {
 public:
  static Variable forward(AutogradContext* context, const Variable& q, const Variable& k, const Variable& v,
                          const Variable& s, const at::Tensor& masks, const Compute* compute, const Method* method,
                          int64_t tokens) {
    const at::Tensor out = at::empty_like(q);
    const at::Tensor lse = at::empty({q.size(0), q.size(1)}, q.options().dtype(at::kFloat));
    const variable_list saved = {q, k, v, s, masks, out, lse};
    ops::sequence_attention(compute->backend(), compute->stream(),
                            ForwardArgs(*method, static_cast<int>(tokens), saved));
    context->save_for_backward(saved);
    context->saved_data["compute"] = reinterpret_cast<int64_t>(compute);
    context->saved_data["block_size"] = static_cast<int64_t>(method->block_size);
    context->saved_data["tokens"] = tokens;
    return out;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const auto* compute = reinterpret_cast<const Compute*>(context->saved_data["compute"].toInt());
    Method method;
    method.block_size = static_cast<int>(context->saved_data["block_size"].toInt());
    const auto tokens = static_cast<int>(context->saved_data["tokens"].toInt());
    const variable_list saved = context->get_saved_variables();
    const at::Tensor dout = grads[0].contiguous();
    const at::Tensor dq = at::empty_like(saved[0]), dk = at::empty_like(saved[1]), dv = at::empty_like(saved[2]);
    at::Tensor ds;
    if (saved[3].numel() > 0) ds = at::empty_like(saved[3]);
    ops::sequence_attention_grad(compute->backend(), compute->stream(),
                                 {.forward = ForwardArgs(method, tokens, saved),
                                  .dout = ViewOf(dout),
                                  .dq = ViewOf(dq),
                                  .dk = ViewOf(dk),
                                  .dv = ViewOf(dv),
                                  .ds = ViewOf(ds)});
    return {dq, dk, dv, ds, {}, {}, {}, {}};
  }
};

// [B T, N, D] as [B, N, T, D].
at::Tensor ByHead(const at::Tensor& x, int tokens) {
  return x.view({x.size(0) / tokens, tokens, x.size(1), x.size(2)}).transpose(1, 2);
}

at::Tensor DenseAttention(int tokens, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  const int64_t group = q.size(1) / k.size(1);
  const at::Tensor queries = ByHead(q, tokens);
  const at::Tensor keys = ByHead(k, tokens).repeat_interleave(group, 1);
  const at::Tensor values = ByHead(v, tokens).repeat_interleave(group, 1);
#if TORCH_VERSION_MAJOR >= 2
  const at::Tensor out = at::scaled_dot_product_attention(queries, keys, values, {}, 0.0, true);
#else
  const at::Tensor future = at::ones({tokens, tokens}, q.options().dtype(at::kBool)).triu(1);
  const at::Tensor logits =
      at::matmul(queries, keys.transpose(2, 3)).to(at::kFloat) / std::sqrt(static_cast<double>(q.size(2)));
  const at::Tensor weights = at::softmax(logits.masked_fill(future, -INFINITY), -1).to(q.scalar_type());
  const at::Tensor out = at::matmul(weights, values);
#endif
  return out.transpose(1, 2).contiguous().view(q.sizes());
}

}  // namespace

at::Tensor SelectMasks(const Compute& compute, const Method& method, int tokens, const at::Tensor& q,
                       const at::Tensor& k, const at::Tensor& s) {
  const at::NoGradGuard no_grad;
  const int64_t words = ops::MaskWords(tokens, method.block_size);
  // What lies after the query is left out by the attention, whatever its block's bit says.
  if (method.rule.every_block) return at::full({q.size(0), k.size(1), words}, -1, q.options().dtype(at::kLong));
  const at::Tensor masks = at::empty({q.size(0), k.size(1), words}, q.options().dtype(at::kLong));
  const at::Tensor keys = WindowMeans(k, method, tokens);
  at::Tensor sigma;
  if (method.rule.topk > 0) sigma = WindowMeans(s, method, tokens);
  ops::sequence_select(compute.backend(), compute.stream(),
                       {.q = ViewOf(q),
                        .keys = ViewOf(keys),
                        .sigma = ViewOf(sigma),
                        .rule = method.rule,
                        .tokens = tokens,
                        .kv_heads = static_cast<int>(k.size(1)),
                        .block_size = method.block_size,
                        .kernel_size = method.kernel_size,
                        .kernel_stride = method.kernel_stride,
                        .scale = 1.0f / std::sqrt(static_cast<float>(q.size(2))),
                        .masks = ViewOf(masks)});
  return masks;
}

AttentionHeld HeldBySelection(const Compute& compute, const Method& method, int tokens, const at::Tensor& q,
                              const at::Tensor& k, const at::Tensor& v, const at::Tensor& s) {
  const at::NoGradGuard no_grad;
  // Up to here a query reads every block there is.
  const int64_t first = method.rule.every_block ? tokens : int64_t{method.most_blocks()} * method.block_size;
  if (first >= tokens) return {};
  const at::Tensor bias = method.bias ? s : at::empty({0}, q.options().dtype(at::kFloat));
  const at::Tensor masks = SelectMasks(compute, method, tokens, q, k, s), out = at::empty_like(q);
  const auto lse_of = [&](const at::Tensor& read) {
    const at::Tensor lse = at::empty({q.size(0), q.size(1)}, q.options().dtype(at::kFloat));
    ops::sequence_attention(compute.backend(), compute.stream(),
                            ForwardArgs(method, tokens, {q, k, v, bias, read, out, lse}));
    return lse;
  };
  const at::Tensor held = (lse_of(masks) - lse_of(at::full_like(masks, -1))).exp().mean(1);  // [B T]
  const at::Tensor counted = held.view({-1, tokens}).narrow(1, first, tokens - first);
  return {.sum = counted.sum(at::kDouble).item<double>(), .rows = counted.numel()};
}

at::Tensor Attend(const Compute& compute, const Method& method, int tokens, const at::Tensor& q, const at::Tensor& k,
                  const at::Tensor& v, const at::Tensor& s) {
  if (method.dense()) return DenseAttention(tokens, q, k, v);
  NOSA_CHECK(s.defined() || !method.needs_importance(), "{} attention without importance", method.name);
  const at::Tensor masks = SelectMasks(compute, method, tokens, q, k, s);
  // LibTorch takes no undefined tensor here: no bias is one without elements.
  const at::Tensor bias = method.bias ? s : at::empty({0}, q.options().dtype(at::kFloat));
  return SparseAttention::apply(q, k, v, bias, masks, &compute, &method, int64_t{tokens});
}

}  // namespace nosa::train
