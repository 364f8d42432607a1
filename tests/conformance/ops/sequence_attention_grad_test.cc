#include "ops/sequence_attention_grad.h"

#include "sequence_problem.h"

namespace nosa::ops {
namespace {

struct Gradients {
  explicit Gradients(const SequenceProblem& problem)
      : dq(problem.q.view.dtype(), problem.q.view.shape(), 30),
        dk(problem.q.view.dtype(), problem.k.view.shape(), 31),
        dv(problem.q.view.dtype(), problem.v.view.shape(), 32),
        ds(DType::kF32, problem.s.view.shape(), 33) {}
  SequenceAttentionGradArgs Args(const SequenceProblem& problem, const RandomTensor& out,
                                 const RandomTensor& lse) const {
    return {.forward = problem.Forward(out.view, lse.view),
            .dout = problem.dout.view,
            .dq = dq.view,
            .dk = dk.view,
            .dv = dv.view,
            .ds = problem.shape.bias ? ds.view : TensorView()};
  }
  RandomTensor dq, dk, dv, ds;
};

// The largest sum of magnitudes that each gradient is made of: what relative errors of its terms act on.
struct Magnitudes {
  double dq = 0, dk = 0, dv = 0, ds = 0;
};

Magnitudes MagnitudesOf(const SequenceProblem& problem, const RandomTensor& out, const RandomTensor& lse) {
  const SequenceShape& shape = problem.shape;
  const int64_t heads = shape.group * shape.kv_heads, dim = shape.dim, words = MaskWords(shape.tokens, shape.block);
  const auto key_count = static_cast<size_t>(shape.rows() * shape.kv_heads);
  std::vector<double> dk(key_count * static_cast<size_t>(dim)), dv = dk, ds(key_count);
  Magnitudes most;
  for (int64_t r = 0; r < shape.rows(); ++r) {
    const int64_t first = r / shape.tokens * shape.tokens;
    for (int64_t h = 0; h < heads; ++h) {
      const int64_t g = h / shape.group, row = (r * heads + h) * dim;
      std::vector<double> dq(static_cast<size_t>(dim));
      for (int64_t j = first; j <= r; ++j) {
        if (!MaskBit(problem.masks.data() + (r * shape.kv_heads + g) * words, (j - first) / shape.block)) continue;
        const int64_t key = (j * shape.kv_heads + g) * dim;
        double logit = problem.shape.bias ? problem.s.At(j * shape.kv_heads + g) : 0, e = 0;
        for (int64_t d = 0; d < dim; ++d) {
          logit += static_cast<double>(problem.q.At(row + d)) * problem.k.At(key + d) * problem.Scale();
          e += std::abs(static_cast<double>(problem.dout.At(row + d))) *
               (std::abs(problem.v.At(key + d)) + std::abs(out.At(row + d)));
        }
        const double w = std::exp(logit - lse.At(r * heads + h));
        for (int64_t d = 0; d < dim; ++d) {
          const auto i = static_cast<size_t>(key + d);
          dq[static_cast<size_t>(d)] += w * e * std::abs(problem.k.At(key + d)) * problem.Scale();
          dk[i] += w * e * std::abs(problem.q.At(row + d)) * problem.Scale();
          dv[i] += w * std::abs(problem.dout.At(row + d));
        }
        ds[static_cast<size_t>(j * shape.kv_heads + g)] += w * e;
      }
      most.dq = std::max(most.dq, *std::max_element(dq.begin(), dq.end()));
    }
  }
  most.dk = *std::max_element(dk.begin(), dk.end());
  most.dv = *std::max_element(dv.begin(), dv.end());
  most.ds = *std::max_element(ds.begin(), ds.end());
  return most;
}

TEST(sequence_attention_grad, MatchesTheTwin) {
  const auto reference = reference::MakeReferenceBackend();
  for (const SequenceShape& shape : SequenceShapes()) {
    const SequenceProblem problem(shape);
    const RandomTensor out(shape.dtype, problem.q.view.shape(), 20),
        lse(DType::kF32, {shape.rows(), shape.group * shape.kv_heads}, 21);
    sequence_attention(*reference, {}, problem.Forward(out.view, lse.view));
    const Gradients expected(problem);
    sequence_attention_grad(*reference, {}, expected.Args(problem, out, lse));
    const Magnitudes magnitudes = MagnitudesOf(problem, out, lse);
    // Of a term w e: the weight's error, those of the two sums of D terms in e, and of the sum over rows; of what is
    // stored, its rounding on both sides.
    const bool bf16 = shape.dtype == DType::kBF16;
    const double error = problem.WeightError() +
                         kRounding * static_cast<double>(2 * shape.dim + shape.rows() * shape.group + 16) +
                         (bf16 ? 0x1p-8 : 0.0);
    for (const TargetCase& each : TargetCases()) {
      SCOPED_TRACE(each.name + ": " + shape.Name());
      const auto backend = each.Make();
      const Gradients found(problem), again(problem);
      sequence_attention_grad(*backend, {}, found.Args(problem, out, lse));
      EXPECT_LE(MaxDifference(found.dq.view, expected.dq.view), error * magnitudes.dq);
      EXPECT_LE(MaxDifference(found.dk.view, expected.dk.view), error * magnitudes.dk);
      EXPECT_LE(MaxDifference(found.dv.view, expected.dv.view), error * magnitudes.dv);
      if (shape.bias) {
        EXPECT_LE(MaxDifference(found.ds.view, expected.ds.view), error * magnitudes.ds);
      }
      sequence_attention_grad(*backend, {}, again.Args(problem, out, lse));
      EXPECT_EQ(MaxDifference(found.dq.view, again.dq.view), 0);
      EXPECT_EQ(MaxDifference(found.dk.view, again.dk.view), 0);
      EXPECT_EQ(MaxDifference(found.dv.view, again.dv.view), 0);
      EXPECT_EQ(MaxDifference(found.ds.view, again.ds.view), 0);
    }
  }
}

// The twin against differences of its own forward pass: d(sum out dout) along one input at a time.
TEST(sequence_attention_grad, TwinAgreesWithDifferences) {
  const auto reference = reference::MakeReferenceBackend();
  const SequenceShape shape = {1, 21, 3, 2, 5, 4, DType::kF32, true};
  SequenceProblem problem(shape);
  const RandomTensor out(DType::kF32, problem.q.view.shape(), 20), lse(DType::kF32, {21, 6}, 21);
  sequence_attention(*reference, {}, problem.Forward(out.view, lse.view));
  const Gradients gradients(problem);
  sequence_attention_grad(*reference, {}, gradients.Args(problem, out, lse));
  const auto objective = [&] {
    const RandomTensor there(DType::kF32, out.view.shape(), 22), ignored(DType::kF32, lse.view.shape(), 23);
    sequence_attention(*reference, {}, problem.Forward(there.view, ignored.view));
    double sum = 0;
    for (int64_t i = 0; i < there.view.shape().elements(); ++i)
      sum += static_cast<double>(there.At(i)) * problem.dout.At(i);
    return sum;
  };
  const std::pair<const RandomTensor*, const RandomTensor*> inputs[] = {{&problem.q, &gradients.dq},
                                                                        {&problem.k, &gradients.dk},
                                                                        {&problem.v, &gradients.dv},
                                                                        {&problem.s, &gradients.ds}};
  for (const auto& [input, gradient] : inputs) {
    for (int64_t i = 0; i < input->view.shape().elements(); i += 7) {
      float* x = input->buffer.as<float>() + i;
      const float before = *x, step = 0x1p-7f;
      *x = before + step;
      const double above = objective();
      *x = before - step;
      const double below = objective();
      *x = before;
      // The outputs are rounded to f32, a sum of 630 of them divided by 2 steps; the third derivative times step^2.
      EXPECT_NEAR((above - below) / (2 * step), gradient->At(i), 2e-3) << i;
    }
  }
}

}  // namespace
}  // namespace nosa::ops
