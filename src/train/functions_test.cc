// The other functions with gradients of their own.
#include <gtest/gtest.h>

#include <cmath>

#include "train/recompute.h"
#include "train/token_loss.h"

namespace nosa::train {
namespace {

at::Tensor Random(std::vector<int64_t> sizes, uint64_t seed) {
  at::manual_seed(seed);
  const at::Tensor x = at::randn(sizes, at::kFloat);
  x.set_requires_grad(true);
  return x;
}

at::Tensor TakeGradient(const at::Tensor& leaf) {
  const at::Tensor gradient = leaf.grad();
  leaf.mutable_grad() = at::Tensor();
  return gradient;
}

double Largest(const at::Tensor& difference) { return difference.abs().max().item<double>(); }

TEST(TokenLoss, ValueAndGradientsAreThoseOfWholeLogits) {
  for (const int64_t rows : {1, 7, 65, 200}) {
    const at::Tensor hidden = Random({rows, 15}, 1), head = Random({33, 15}, 2);
    const at::Tensor targets = at::randint(33, {rows}, at::kLong);
    const at::Tensor weights = at::rand({rows}).masked_fill(at::rand({rows}).lt(0.3), 0);
    // Half of it, so that what comes from above is seen to reach the gradients.
    const at::Tensor loss = TokenLoss(hidden, head, targets, weights) * 0.5;
    torch::autograd::backward({loss}, {});
    const at::Tensor dhidden = TakeGradient(hidden), dhead = TakeGradient(head);
    const at::Tensor logits = at::matmul(hidden.to(at::kDouble), head.to(at::kDouble).t());
    const at::Tensor costs = logits.logsumexp(1) - logits.gather(1, targets.unsqueeze(1)).squeeze(1);
    const at::Tensor expected = (costs * weights.to(at::kDouble)).sum() * 0.5;
    torch::autograd::backward({expected}, {});
    EXPECT_NEAR(loss.item<double>(), expected.item<double>(), 1e-4 * (1 + expected.item<double>()));
    EXPECT_LE(Largest(dhidden - hidden.grad()), 1e-5);
    EXPECT_LE(Largest(dhead - head.grad()), 1e-5 * static_cast<double>(rows));
    const TokenLosses every = EveryTokenLoss(hidden, head, targets);
    EXPECT_LE(Largest(every.losses - costs.to(at::kFloat)), 1e-4);
    EXPECT_TRUE(every.right.equal(logits.argmax(1).eq(targets)));
  }
}

// More rows than logits may exist at a time.
TEST(TokenLoss, ChunksAreOneSum) {
  const at::Tensor hidden = Random({400, 4}, 3), head = Random({45000, 4}, 4);
  const at::Tensor targets = at::randint(45000, {400}, at::kLong), weights = at::ones({400});
  const at::Tensor loss = TokenLoss(hidden, head, targets, weights);
  torch::autograd::backward({loss}, {});
  const at::Tensor dhidden = TakeGradient(hidden);
  at::Tensor sum = at::zeros({}, at::kFloat);
  for (int64_t r = 0; r < 400; r += 50)
    sum = sum + TokenLoss(hidden.narrow(0, r, 50), head, targets.narrow(0, r, 50), weights.narrow(0, r, 50));
  torch::autograd::backward({sum}, {});
  EXPECT_NEAR(loss.item<double>(), sum.item<double>(), 1e-5 * sum.item<double>());
  EXPECT_LE(Largest(dhidden - hidden.grad()), 1e-5);
}

TEST(Recompute, GradientsAreThoseOfTheFunctionItself) {
  const at::Tensor x = Random({5, 7}, 5), w = Random({7, 7}, 6);
  int calls = 0;
  const auto f = [&](const at::Tensor& in) {
    ++calls;
    return at::silu(at::matmul(in, w)) + in;
  };
  torch::autograd::backward({Recompute(f, Recompute(f, x * 2)).square().sum()}, {});
  EXPECT_EQ(calls, 4) << "once forward and once backward, for each of two";
  const at::Tensor dx = TakeGradient(x), dw = TakeGradient(w);
  torch::autograd::backward({f(f(x * 2)).square().sum()}, {});
  EXPECT_TRUE(dx.equal(x.grad()));
  EXPECT_LE(Largest(dw - w.grad()), 1e-5 * Largest(dw)) << "added in another order";
}

}  // namespace
}  // namespace nosa::train
