#include "ops/sequence_attention.h"

#include "sequence_problem.h"

namespace nosa::ops {
namespace {

TEST(sequence_attention, MatchesTheTwin) {
  const auto reference = reference::MakeReferenceBackend();
  for (const SequenceShape& shape : SequenceShapes()) {
    const SequenceProblem problem(shape);
    const Shape lse_shape = {shape.rows(), shape.group * shape.kv_heads};
    const RandomTensor expected(shape.dtype, problem.q.view.shape(), 20), expected_lse(DType::kF32, lse_shape, 21);
    sequence_attention(*reference, {}, problem.Forward(expected.view, expected_lse.view));
    double most = 0;
    for (int64_t i = 0; i < problem.v.view.shape().elements(); ++i)
      most = std::max(most, std::abs(static_cast<double>(problem.v.At(i))));
    const double rounding = shape.dtype == DType::kBF16 ? 0x1p-8 : 0.0;  // of what is stored, on both sides
    for (const TargetCase& each : TargetCases()) {
      SCOPED_TRACE(each.name + ": " + shape.Name());
      const auto backend = each.Make();
      const RandomTensor out(shape.dtype, expected.view.shape(), 22), lse(DType::kF32, lse_shape, 23);
      sequence_attention(*backend, {}, problem.Forward(out.view, lse.view));
      EXPECT_LE(MaxDifference(out.view, expected.view), (problem.WeightError() + rounding) * most);
      EXPECT_LE(MaxDifference(lse.view, expected_lse.view), problem.LogitError() + kRounding * 64);
    }
  }
}

// By hand, so that the twin is judged too: two tokens that can be read, one of them through its bias alone.
TEST(sequence_attention, TwinByHand) {
  const std::vector<float> q = {0, 1}, k = {5, 0}, v = {2, 6}, s = {0, std::log(3.0f)};
  const std::vector<uint64_t> masks = {1, 3};
  std::vector<float> out(2), lse(2);
  sequence_attention(*reference::MakeReferenceBackend(), {},
                     {.q = {q.data(), DType::kF32, {2, 1, 1}},
                      .k = {k.data(), DType::kF32, {2, 1, 1}},
                      .v = {v.data(), DType::kF32, {2, 1, 1}},
                      .s = {s.data(), DType::kF32, {2, 1}},
                      .masks = {masks.data(), DType::kI64, {2, 1, 1}},
                      .tokens = 2,
                      .block_size = 1,
                      .scale = 0,
                      .out = {out.data(), DType::kF32, {2, 1, 1}},
                      .lse = {lse.data(), DType::kF32, {2, 1}}});
  EXPECT_FLOAT_EQ(out[0], 2);  // a token sees none after it
  EXPECT_FLOAT_EQ(out[1], (1 * 2 + 3 * 6) / 4.0f);
  EXPECT_FLOAT_EQ(lse[1], std::log(4.0f));
}

TEST(sequence_attention, RefusesOtherShapes) {
  const SequenceProblem problem(SequenceShape{.tokens = 64});
  const RandomTensor out(DType::kF32, problem.q.view.shape(), 1), lse(DType::kF32, {128, 8}, 2);
  SequenceAttentionArgs args = problem.Forward(out.view, lse.view);
  args.tokens = 100;
  EXPECT_DEATH(sequence_attention(*reference::MakeReferenceBackend(), {}, args), "128 rows are no sequences of 100");
}

}  // namespace
}  // namespace nosa::ops
