// Gradients of attention against autograd of the dense form with a mask, in double precision.
#include "train/attention.h"

#include <gtest/gtest.h>

#include <cmath>

#include "backend/cpu/cpu_backend.h"
#include "ops/sequence.h"

namespace nosa::train {
namespace {

struct Sizes {
  int sequences, tokens, kv_heads, group, dim;
};

// Blocks of 8 tokens, few of which are read.
Method MethodOf(const std::string& name) {
  schema::ModelConfig config;
  config.num_layers = 1;
  config.sparse = {.block_size = 8,
                   .kernel_size = 4,
                   .kernel_stride = 2,
                   .init_blocks = 1,
                   .window_size = 8,
                   .topk = 5,
                   .query_topk = 2};
  return MakeMethod(name, config).value();
}

at::Tensor Random(std::vector<int64_t> sizes, double scale, uint64_t seed) {
  at::manual_seed(seed);
  const at::Tensor x = at::randn(sizes, at::kFloat) * scale;
  x.set_requires_grad(true);
  return x;
}

// [B T, G, T]: whether token t may read token j of its sequence.
at::Tensor Readable(const at::Tensor& masks, const Sizes& size, int block_size) {
  const int64_t rows = int64_t{size.sequences} * size.tokens;
  const at::Tensor readable = at::zeros({rows, size.kv_heads, size.tokens}, at::kBool);
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t g = 0; g < size.kv_heads; ++g) {
      const auto* mask =
          reinterpret_cast<const uint64_t*>(masks.data_ptr<int64_t>()) + (r * size.kv_heads + g) * masks.size(2);
      for (int64_t j = 0; j <= r % size.tokens; ++j) readable[r][g][j] = ops::MaskBit(mask, j / block_size);
    }
  }
  return readable;
}

// What Attend computes, whole and in f64. `s` may be undefined.
at::Tensor DenseMasked(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v, const at::Tensor& s,
                       const at::Tensor& readable, const Sizes& size) {
  const auto by_head = [&](const at::Tensor& x) {
    return x.to(at::kDouble).view({size.sequences, size.tokens, x.size(1), -1}).transpose(1, 2);
  };
  const at::Tensor keys = by_head(k).repeat_interleave(size.group, 1),
                   values = by_head(v).repeat_interleave(size.group, 1);
  at::Tensor logits = at::matmul(by_head(q), keys.transpose(2, 3)) / std::sqrt(static_cast<double>(size.dim));
  if (s.defined()) logits = logits + by_head(s.unsqueeze(2)).repeat_interleave(size.group, 1).transpose(2, 3);
  const at::Tensor mask = readable.view({size.sequences, size.tokens, size.kv_heads, size.tokens})
                              .transpose(1, 2)
                              .repeat_interleave(size.group, 1);
  const at::Tensor weights = at::softmax(logits.masked_fill(mask.logical_not(), -INFINITY), -1);
  return at::matmul(weights, values).transpose(1, 2).reshape(q.sizes());
}

void ExpectClose(const at::Tensor& found, const at::Tensor& expected, double tolerance, const std::string& what) {
  ASSERT_TRUE(found.defined() && expected.defined()) << what;
  const double scale = expected.abs().max().item<double>() + 0.05;  // where nothing is to choose, gradients are zero
  const double difference = (found.to(at::kDouble) - expected.to(at::kDouble)).abs().max().item<double>();
  EXPECT_LE(difference, tolerance * scale) << what;
}

void ExpectGradients(const std::string& name, const Sizes& size) {
  SCOPED_TRACE(fmt::format("{}: {} sequences of {} tokens, {} KV heads of {} queries, head size {}", name,
                           size.sequences, size.tokens, size.kv_heads, size.group, size.dim));
  const auto backend = cpu::MakeCpuBackend(2);
  const Compute compute(backend.get());
  const Method method = MethodOf(name);
  const int64_t rows = int64_t{size.sequences} * size.tokens, width = int64_t{size.kv_heads} * size.dim;
  const at::Tensor q = Random({rows, int64_t{size.kv_heads} * size.group, size.dim}, 1.5, 1);
  const at::Tensor k = Random({rows, size.kv_heads, size.dim}, 1, 2), v = Random({rows, size.kv_heads, size.dim}, 1, 3);
  const at::Tensor delta = Random({size.kv_heads, width}, 0.3, 4), a = Random({size.kv_heads}, 1, 5);
  const at::Tensor dout = Random(q.sizes().vec(), 1, 6).detach();
  const auto importance = [&](const at::Tensor& values, const at::Tensor& d, const at::Tensor& amplitude) {
    return at::softplus(at::matmul(values.reshape({rows, width}), d.t())) * amplitude;
  };
  const std::vector<at::Tensor> leaves = {q, k, v, delta, a};
  const at::Tensor s = importance(v, delta, a);
  const at::Tensor out = Attend(compute, method, size.tokens, q, k, v, s);
  torch::autograd::backward({(out * dout).sum()}, {});
  std::vector<at::Tensor> found;
  for (const at::Tensor& leaf : leaves) {
    found.push_back(leaf.grad());
    leaf.mutable_grad() = at::Tensor();
  }
  // The same in f64 from the same masks.
  const at::Tensor masks = SelectMasks(compute, method, size.tokens, q.detach(), k.detach(), s.detach());
  const at::Tensor readable = Readable(masks, size, method.block_size);
  if (!method.rule.every_block && size.tokens > 60) {
    const int64_t seen = readable.sum().item<int64_t>(), all = rows * size.kv_heads * (size.tokens + 1) / 2;
    EXPECT_LT(seen, all * 9 / 10) << "the masks leave nothing out";
  }
  const auto whole = [&](const at::Tensor& amplitude, const at::Tensor& d) {
    const at::Tensor wide = importance(v.to(at::kDouble), d, amplitude);
    return DenseMasked(q, k, v, method.bias ? wide : at::Tensor(), readable, size);
  };
  const at::Tensor expected = whole(a.to(at::kDouble), delta.to(at::kDouble));
  const double tolerance = 2e-5;
  ExpectClose(out, expected, tolerance, "out");
  torch::autograd::backward({(expected * dout.to(at::kDouble)).sum()}, {});
  const char* const names[] = {"q", "k", "v", "delta", "A"};
  for (size_t i = 0; i < leaves.size(); ++i) {
    if (i >= 3 && !method.bias) continue;
    ExpectClose(found[i], leaves[i].grad(), 10 * tolerance, names[i]);
  }
  if (!method.bias) return;
  // Finite differences of the same sum, in f64, by A and delta: what the two agree on is the derivative.
  const at::NoGradGuard no_grad;
  const double h = 1e-5;
  const auto sum = [&](const at::Tensor& amplitude, const at::Tensor& d) {
    return (whole(amplitude, d) * dout.to(at::kDouble)).sum().item<double>();
  };
  for (int i = 0; i < 2; ++i) {
    at::Tensor up = (i == 0 ? a : delta).detach().to(at::kDouble).clone(), down = up.clone();
    up.view(-1)[0] += h;
    down.view(-1)[0] -= h;
    const at::Tensor wide_a = a.detach().to(at::kDouble), wide_delta = delta.detach().to(at::kDouble);
    const double slope = i == 0 ? (sum(up, wide_delta) - sum(down, wide_delta)) / (2 * h)
                                : (sum(wide_a, up) - sum(wide_a, down)) / (2 * h);
    EXPECT_NEAR(found[i == 0 ? 4 : 3].view(-1)[0].item<double>(), slope, 1e-3 * (std::abs(slope) + 1)) << names[4 - i];
  }
}

TEST(Attention, GradientsAreThoseOfTheDenseFormWithAMask) {
  for (const std::string name : {"nosa", "dma", "infllm2", "window", "full"}) {
    ExpectGradients(name, {.sequences = 2, .tokens = 77, .kv_heads = 2, .group = 3, .dim = 15});
  }
  ExpectGradients("nosa", {.sequences = 1, .tokens = 130, .kv_heads = 2, .group = 4, .dim = 64});
  ExpectGradients("nosa", {.sequences = 3, .tokens = 64, .kv_heads = 1, .group = 1, .dim = 64});
  ExpectGradients("nosa", {.sequences = 2, .tokens = 1, .kv_heads = 2, .group = 2, .dim = 16});
  ExpectGradients("nosa", {.sequences = 2, .tokens = 3, .kv_heads = 2, .group = 2, .dim = 16});  // no window yet
  ExpectGradients("nosa", {.sequences = 1, .tokens = 9, .kv_heads = 2, .group = 1, .dim = 16});
}

TEST(Attention, AnyNumberOfBlocksIsDenseWithTheBias) {
  const Sizes size = {.sequences = 1, .tokens = 40, .kv_heads = 2, .group = 2, .dim = 16};  // 5 blocks: all are read
  const auto backend = cpu::MakeCpuBackend(1);
  const Compute compute(backend.get());
  const at::Tensor q = Random({40, 4, 16}, 1, 1), k = Random({40, 2, 16}, 1, 2), s = Random({40, 2}, 1, 3);
  const at::Tensor masks = SelectMasks(compute, MethodOf("nosa"), 40, q, k, s);
  const at::Tensor past = at::arange(40).view({40, 1, 1}).ge(at::arange(40).view({1, 1, 40})).expand({40, 2, 40});
  EXPECT_TRUE(Readable(masks, size, 8).equal(past));
}

// Against weights of the dense form, added up over the blocks of the masks.
TEST(Attention, HeldBySelectionIsTheShareOfTheDenseWeights) {
  const Sizes size = {.sequences = 2, .tokens = 100, .kv_heads = 2, .group = 2, .dim = 16};
  const auto backend = cpu::MakeCpuBackend(2);
  const Compute compute(backend.get());
  const at::Tensor q = Random({200, 4, 16}, 1, 1), k = Random({200, 2, 16}, 1, 2), v = Random({200, 2, 16}, 1, 3),
                   s = Random({200, 2}, 1, 4);
  const Method method = MethodOf("nosa");
  const AttentionHeld found = HeldBySelection(compute, method, size.tokens, q, k, v, s);
  const at::Tensor readable = Readable(SelectMasks(compute, method, size.tokens, q, k, s), size, method.block_size);
  const int first = method.most_blocks() * method.block_size;
  ASSERT_LT(first, size.tokens);
  double sum = 0;
  for (int64_t row = 0; row < 200; ++row) {
    const int64_t t = row % size.tokens, begin = row - t;
    if (t < first) continue;
    for (int64_t h = 0; h < 4; ++h) {
      const at::Tensor logits = at::mv(k.narrow(0, begin, t + 1).select(1, h / 2), q[row][h]) / 4.0 +
                                s.narrow(0, begin, t + 1).select(1, h / 2);
      const at::Tensor read = readable[row].select(0, h / 2).narrow(0, 0, t + 1);
      sum += (at::softmax(logits, 0) * read).sum().item<double>() / 4;
    }
  }
  EXPECT_EQ(found.rows, 2 * (size.tokens - first));
  EXPECT_NEAR(found.sum, sum, 1e-3);
  EXPECT_LT(found.mean(), 0.95);
  EXPECT_EQ(HeldBySelection(compute, MethodOf("full"), size.tokens, q, k, v, s).rows, 0);
}

TEST(Method, NamesASelectorOfTheEngine) {
  const auto method = MakeMethod("sparkle", schema::ModelConfig());
  ASSERT_FALSE(method.ok());
  EXPECT_NE(method.status().message().find("sparkle"), std::string::npos);
  EXPECT_NE(method.status().message().find("nosa"), std::string::npos);
}

}  // namespace
}  // namespace nosa::train
