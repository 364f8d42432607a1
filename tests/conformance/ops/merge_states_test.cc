#include "ops/merge_states.h"

#include "attention_problem.h"

namespace nosa::ops {
namespace {

using Cut = AttentionProblem::Cut;

TEST(merge_states, MatchesTheTwin) {
  const auto reference = reference::MakeReferenceBackend();
  const Cut cut{.state_per_block = true};
  for (const AttentionShape& shape : AttentionShapes()) {
    AttentionProblem problem(shape);
    OwnedStates states = problem.MakeStates(cut);
    problem.Attend(*reference, cut, states.view);
    const TestVector<float> expected = problem.Merge(*reference, cut, states.view);
    for (const BackendCase& backend : BackendCases()) {
      SCOPED_TRACE(backend.name + " " + shape.Name());
      const TestVector<float> found = problem.Merge(*backend.make(), cut, states.view);
      // |v| < 6; a merge costs two factors of 3 ulp and two roundings, of acc and of l.
      for (size_t i = 0; i < found.size(); ++i)
        ASSERT_NEAR(expected[i], found[i], 6 * 16.0 * shape.blocks() * 0x1p-24) << i;
    }
  }
}

// Parts merged one after the other into one state, or kept apart and merged at the end: the same bits. That is what
// lets a block be computed when it arrives.
TEST(merge_states, SameBitsAsMergingAsOneGoes) {
  const Cut apart{.state_per_block = true};
  for (const AttentionShape& shape : AttentionShapes()) {
    AttentionProblem problem(shape);
    for (const BackendCase& backend_case : BackendCases()) {
      const auto backend = backend_case.make();
      OwnedStates direct = problem.MakeStates({}), parts = problem.MakeStates(apart);
      problem.Attend(*backend, {}, direct.view);
      problem.Attend(*backend, apart, parts.view);
      ASSERT_TRUE(SameBits(problem.Merge(*backend, {}, direct.view), problem.Merge(*backend, apart, parts.view)))
          << backend_case.name << " " << shape.Name();
    }
  }
}

TEST(merge_states, EmptyPartsChangeNothing) {
  for (const auto& backend : BackendsAndReference()) {
    OwnedStates states(3, 1, 2);
    // State 1: l = 1, so that normalising changes no bit; its acc has both signs of zero's neighbourhood.
    states.m[1] = -3.5f;
    states.l[1] = 1.0f;
    states.acc[2] = -0.0f;
    states.acc[3] = 1e-40f;
    const std::vector<int32_t> order = {0, 1, 2, 0, 2}, offsets = {0, 3, 3, 5};
    TestVector<float> out(6, 9.0f);
    merge_states(*backend, {}, {states.view, offsets, order, 1, TensorView(out.data(), DType::kF32, {3, 1, 2})});
    EXPECT_TRUE(SameBits(out, {-0.0f, 1e-40f, 0, 0, 0, 0})) << backend->name();
  }
}

}  // namespace
}  // namespace nosa::ops
