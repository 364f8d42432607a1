#include "train/token_loss.h"

#include <algorithm>

namespace nosa::train {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::Variable;
using torch::autograd::variable_list;

// Logits that exist at a time: 64 MiB of them, whatever the vocabulary.
constexpr int64_t kLogits = int64_t{16} << 20;

int64_t ChunkRows(const at::Tensor& head) { return std::max<int64_t>(64, kLogits / head.size(0)); }

struct Chunk {
  at::Tensor logits, lse, targets;                                       // [r, V], [r, 1], [r, 1]
  at::Tensor Losses() const { return lse - logits.gather(1, targets); }  // [r, 1]
};

Chunk LogitsOf(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets) {
  Chunk chunk;
  chunk.logits = at::matmul(hidden, head.t()).to(at::kFloat);
  chunk.lse = chunk.logits.logsumexp(1, true);
  chunk.targets = targets.unsqueeze(1);
  return chunk;
}

class TokenLossFunction : public torch::autograd::Function<TokenLossFunction> {
 public:
  static Variable forward(AutogradContext* context, const Variable& hidden, const Variable& head,
                          const at::Tensor& targets, const at::Tensor& weights) {
    const int64_t rows = hidden.size(0), step = ChunkRows(head);
    const at::Tensor total = at::zeros({}, hidden.options().dtype(at::kFloat));
    const at::Tensor dhidden = at::empty_like(hidden);
    const at::Tensor dhead = at::zeros(head.sizes(), head.options().dtype(at::kFloat));
    for (int64_t begin = 0; begin < rows; begin += step) {
      const int64_t count = std::min(step, rows - begin);
      const at::Tensor h = hidden.narrow(0, begin, count), w = weights.narrow(0, begin, count).unsqueeze(1);
      const Chunk chunk = LogitsOf(h, head, targets.narrow(0, begin, count));
      total.add_((chunk.Losses() * w).sum());
      // Softmax, less one at the target, in the place of the logits.
      at::Tensor d = chunk.logits.sub_(chunk.lse).exp_();
      d.scatter_add_(1, chunk.targets, at::full_like(chunk.lse, -1));
      d = d.mul_(w).to(h.scalar_type());
      dhidden.narrow(0, begin, count).copy_(at::matmul(d, head));
      if (d.scalar_type() == at::kFloat) {
        dhead.addmm_(d.t(), h);
      } else {
        dhead.add_(at::matmul(d.t(), h));
      }
    }
    context->save_for_backward({dhidden, dhead.to(head.scalar_type())});
    return total;
  }

  static variable_list backward(AutogradContext* context, const variable_list& grads) {
    const variable_list saved = context->get_saved_variables();
    return {saved[0] * grads[0].to(saved[0].scalar_type()), saved[1] * grads[0].to(saved[1].scalar_type()), {}, {}};
  }
};

}  // namespace

TokenLosses EveryTokenLoss(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets) {
  const at::NoGradGuard no_grad;
  const int64_t rows = hidden.size(0), step = ChunkRows(head);
  TokenLosses all;
  all.losses = at::empty({rows}, hidden.options().dtype(at::kFloat));
  all.right = at::empty({rows}, hidden.options().dtype(at::kBool));
  for (int64_t begin = 0; begin < rows; begin += step) {
    const int64_t count = std::min(step, rows - begin);
    const at::Tensor goal = targets.narrow(0, begin, count);
    const Chunk chunk = LogitsOf(hidden.narrow(0, begin, count), head, goal);
    all.losses.narrow(0, begin, count).copy_(chunk.Losses().squeeze(1));
    all.right.narrow(0, begin, count).copy_(chunk.logits.argmax(1).eq(goal));
  }
  return all;
}

at::Tensor TokenLoss(const at::Tensor& hidden, const at::Tensor& head, const at::Tensor& targets,
                     const at::Tensor& weights) {
  if (!at::GradMode::is_enabled()) return (EveryTokenLoss(hidden, head, targets).losses * weights).sum();
  return TokenLossFunction::apply(hidden, head, targets, weights);
}

}  // namespace nosa::train
