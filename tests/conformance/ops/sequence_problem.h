// Small problems for the tests of the ops on whole sequences: random tensors and masks, and how far rounding may take a
// result from the twin's.
#pragma once

#include "compare.h"
#include "ops/sequence_attention_grad.h"

namespace nosa::ops {

struct SequenceShape {
  int sequences = 2, tokens = 200;
  int64_t group = 4, kv_heads = 2, dim = 64;
  int block = 64;
  DType dtype = DType::kF32;
  bool bias = true;

  int64_t rows() const { return static_cast<int64_t>(sequences) * tokens; }
  std::string Name() const {
    return fmt::format("{} x {} tokens, g {} G {} D {}, blocks of {}, {}{}", sequences, tokens, group, kv_heads, dim,
                       block, DTypeName(dtype), bias ? ", biased" : "");
  }
};

inline std::vector<SequenceShape> SequenceShapes() {
  std::vector<SequenceShape> shapes;
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const bool bias : {false, true}) {
      shapes.push_back({2, 200, 4, 2, 64, 64, dtype, bias});    // a last block that is not full
      shapes.push_back({1, 448, 16, 1, 128, 64, dtype, bias});  // the shape of the published models
      shapes.push_back({3, 65, 1, 3, 64, 64, dtype, bias});
      shapes.push_back({1, 130, 8, 1, 64, 64, dtype, bias});
      shapes.push_back({2, 97, 2, 2, 128, 64, dtype, bias});
      shapes.push_back({2, 50, 3, 2, 15, 16, dtype, bias});  // nothing is a multiple of anything
      shapes.push_back({1, 33, 5, 1, 40, 7, dtype, bias});
      shapes.push_back({2, 1, 1, 1, 1, 1, dtype, bias});
    }
  }
  shapes.push_back({1, 1300, 4, 2, 64, 64, DType::kBF16, true});  // several parts of a block's readers
  return shapes;
}

// Every token reads its own block, and each earlier one with the chance `share`; the first token of each sequence's
// second KV head, where there is one, reads nothing at all.
struct SequenceProblem {
  SequenceProblem(const SequenceShape& shape, double share = 0.4)
      : q(shape.dtype, {shape.rows(), shape.group * shape.kv_heads, shape.dim}, 1),
        k(shape.dtype, {shape.rows(), shape.kv_heads, shape.dim}, 2),
        v(shape.dtype, {shape.rows(), shape.kv_heads, shape.dim}, 3),
        s(DType::kF32, {shape.bias ? shape.rows() : 0, shape.kv_heads}, 4),
        dout(shape.dtype, q.view.shape(), 5),
        masks(static_cast<size_t>(shape.rows() * shape.kv_heads * MaskWords(shape.tokens, shape.block))),
        shape(shape) {
    const Philox rng(11, static_cast<uint64_t>(shape.tokens));
    const int64_t words = MaskWords(shape.tokens, shape.block);
    for (int64_t r = 0; r < shape.rows(); ++r) {
      const int64_t t = r % shape.tokens, own = t / shape.block;
      for (int64_t g = 0; g < shape.kv_heads; ++g) {
        uint64_t* mask = masks.data() + (r * shape.kv_heads + g) * words;
        for (int64_t b = 0; b <= own; ++b) {
          const bool drawn = rng.Uniform(static_cast<uint64_t>((r * shape.kv_heads + g) * 1000 + b)) < share;
          if ((b == own || drawn) && !(t == 0 && g == 1)) mask[b / 64] |= uint64_t{1} << (b % 64);
        }
      }
    }
  }

  SequenceAttentionArgs Forward(const TensorView& out, const TensorView& lse) const {
    return {.q = q.view,
            .k = k.view,
            .v = v.view,
            .s = shape.bias ? ConstTensorView(s.view) : ConstTensorView(),
            .masks = {masks.data(), DType::kI64, {shape.rows(), shape.kv_heads, MaskWords(shape.tokens, shape.block)}},
            .tokens = shape.tokens,
            .block_size = shape.block,
            .scale = Scale(),
            .out = out,
            .lse = lse};
  }
  float Scale() const { return 1.0f / std::sqrt(static_cast<float>(shape.dim)); }

  // The error of a logit: a product of D terms, scaled and biased, in f32.
  double LogitError() const {
    double longest_q = 0, longest_k = 0;
    const auto longest = [&](const RandomTensor& x) {
      double most = 0;
      for (int64_t i = 0; i < x.view.shape().elements(); i += shape.dim) {
        double sum = 0;
        for (int64_t d = 0; d < shape.dim; ++d) sum += static_cast<double>(x.At(i + d)) * x.At(i + d);
        most = std::max(most, sum);
      }
      return std::sqrt(most);
    };
    longest_q = longest(q);
    longest_k = longest(k);
    return kRounding * (static_cast<double>(shape.dim) + 8) * (longest_q * longest_k * Scale() + 8);
  }
  // Relative error of a weight, and of a sum of weights: the logit's, and the rounding to bf16 before a product.
  double WeightError() const {
    return 2 * LogitError() + kRounding * (shape.tokens + 16) + (shape.dtype == DType::kBF16 ? 0x1p-8 : 0.0);
  }

  RandomTensor q, k, v, s, dout;
  TestVector<uint64_t> masks;
  SequenceShape shape;
};

}  // namespace nosa::ops
