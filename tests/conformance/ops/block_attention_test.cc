#include "ops/block_attention.h"

#include "attention_problem.h"

namespace nosa::ops {
namespace {

using Cut = AttentionProblem::Cut;

TEST(block_attention, MatchesTheTwin) {
  const auto reference = reference::MakeReferenceBackend();
  for (const AttentionShape& shape : AttentionShapes()) {
    AttentionProblem problem(shape);
    OwnedStates expected = problem.MakeStates({});
    problem.Attend(*reference, {}, expected.view);
    for (const BackendCase& backend : BackendCases()) {
      SCOPED_TRACE(backend.name + " " + shape.Name());
      OwnedStates found = problem.MakeStates({});
      problem.Attend(*backend.make(), {}, found.view);
      for (size_t i = 0; i + 1 < found.m.size(); ++i) {
        ASSERT_EQ(std::isinf(expected.m[i]), std::isinf(found.m[i]))
            << "a part without tokens is not empty, or one with is";
        if (std::isinf(found.m[i])) {
          ASSERT_EQ(found.l[i], 0.0f);
          continue;
        }
        ASSERT_NEAR(expected.m[i], found.m[i], problem.LogitTolerance()) << i;
        ASSERT_NEAR(expected.l[i], found.l[i], expected.l[i] * problem.WeightTolerance()) << i;
        for (int64_t d = 0; d < shape.v_dim; ++d) {
          const size_t at = i * static_cast<size_t>(shape.v_dim) + static_cast<size_t>(d);
          ASSERT_NEAR(expected.acc[at] / expected.l[i], found.acc[at] / found.l[i], problem.OutTolerance())
              << i << " channel " << d;
        }
      }
      ASSERT_EQ(found.m.back(), 0.0f);
      ASSERT_EQ(found.acc.back(), 0.0f);
    }
  }
}

// Queries as they come. Backends that round them to bf16 turn every logit by at most RoundingOfLogits, so the greatest
// by as much, a weight by the factor of twice that, and the sums of the weights and of the weighted values likewise.
TEST(block_attention, QueriesMayBeRoundedToBf16) {
  const auto reference = reference::MakeReferenceBackend();
  for (const AttentionShape& shape : AttentionShapes()) {
    if (shape.dtype != DType::kBF16) continue;
    AttentionProblem problem(shape, AttentionProblem::Queries::kAsDrawn);
    OwnedStates expected = problem.MakeStates({});
    problem.Attend(*reference, {}, expected.view);
    for (const BackendCase& backend : BackendCases()) {
      SCOPED_TRACE(backend.name + " " + shape.Name());
      OwnedStates found = problem.MakeStates({});
      problem.Attend(*backend.make(), {}, found.view);
      for (size_t i = 0; i + 1 < found.m.size(); ++i) {
        ASSERT_EQ(std::isinf(expected.m[i]), std::isinf(found.m[i]));
        if (std::isinf(found.m[i])) continue;
        const int32_t heads = shape.group * shape.kv_heads, row = static_cast<int32_t>(i) / heads;
        const double logit = problem.RoundingOfLogits(row, static_cast<int32_t>(i) % heads) + problem.LogitTolerance();
        const double weight = std::expm1(2 * logit) + problem.WeightTolerance();
        ASSERT_NEAR(expected.m[i], found.m[i], logit) << i;
        ASSERT_NEAR(expected.l[i], found.l[i], expected.l[i] * weight) << i;
        for (int64_t d = 0; d < shape.v_dim; ++d) {
          const size_t at = i * static_cast<size_t>(shape.v_dim) + static_cast<size_t>(d);
          ASSERT_NEAR(expected.acc[at] / expected.l[i], found.acc[at] / found.l[i], 2 * 6 * weight)
              << i << " channel " << d;
        }
      }
    }
  }
}

// The twin against attention written out: softmax over all visible tokens at once.
TEST(block_attention, TwinIsSoftmax) {
  TestVector<float> k = {1, 0, -1, 2}, v = {10, 20, 30, 40}, s = {0, 1, 0, -1}, q = {0.5f};
  const std::vector<int32_t> positions = {2};
  const std::vector<AttentionTile> tiles = {{k.data(), v.data(), s.data(), 0, 0, 2, 0, 1},
                                            {k.data() + 2, v.data() + 2, s.data() + 2, 0, 2, 2, 0, 1}};
  const std::vector<BlockAttentionArgs::Ref> refs = {{0, 0}};
  const std::vector<int32_t> groups = {0, 2};
  OwnedStates states(1, 1, 1);
  block_attention(*reference::MakeReferenceBackend(), {},
                  {ConstTensorView(q.data(), DType::kF32, {1, 1, 1}), positions, tiles, refs, groups, states.view,
                   DType::kF32, 2, 2.0f});
  const double a = std::exp(1.0), b = std::exp(1.0), c = std::exp(-1.0);
  EXPECT_NEAR(states.acc[0] / states.l[0], (10 * a + 20 * b + 30 * c) / (a + b + c), 1e-5);
}

bool SameStates(const OwnedStates& a, const OwnedStates& b) {
  return SameBits(a.m, b.m) && SameBits(a.l, b.l) && SameBits(a.acc, b.acc);
}

// The same work in tiles of one ref, of some and of all, in groups by head and by row, on 1 and 3 threads: the same
// bits.
TEST(block_attention, BitsDoNotDependOnTilesGroupsOrThreads) {
  for (AttentionShape shape : AttentionShapes()) {
    shape.rows = shape.block == 64 && shape.tokens == 224 ? 130 : 17;
    AttentionProblem problem(shape);
    for (const std::vector<BackendCase>& family : BackendFamilies()) {
      OwnedStates expected = problem.MakeStates({});
      problem.Attend(*family[0].make(), {}, expected.view);
      for (const Cut& cut : {Cut{1, false, false}, Cut{1, true, false}, Cut{5, false, false}, Cut{16, false, false}}) {
        for (const BackendCase& backend : family) {
          SCOPED_TRACE(fmt::format("{} refs a tile, {}, {}", cut.refs_per_tile, backend.name, shape.Name()));
          OwnedStates found = problem.MakeStates(cut);
          problem.Attend(*backend.make(), cut, found.view);
          ASSERT_TRUE(SameStates(expected, found));
        }
      }
    }
  }
}

// Masks that say what refs say give the same bits, in tiles of all rows and of some.
TEST(block_attention, MasksAreRefs) {
  for (AttentionShape shape : AttentionShapes()) {
    shape.rows = shape.block == 64 && shape.tokens == 224 ? 130 : 17;
    AttentionProblem problem(shape);
    for (const std::vector<BackendCase>& family : BackendFamilies()) {
      for (const bool some : {false, true}) {
        OwnedStates expected = problem.MakeStates({});
        problem.Attend(*family[0].make(), {.some = some}, expected.view);
        for (const Cut& cut : {Cut{.some = some, .masks = true}, Cut{.refs_per_tile = 5, .some = some, .masks = true},
                               Cut{.group_per_row = true, .some = some, .masks = true}}) {
          for (const BackendCase& backend : family) {
            SCOPED_TRACE(fmt::format("{} rows a tile, {}, {}", cut.refs_per_tile, backend.name, shape.Name()));
            OwnedStates found = problem.MakeStates(cut);
            problem.Attend(*backend.make(), cut, found.view);
            ASSERT_TRUE(SameStates(expected, found));
          }
        }
      }
    }
  }
}

// So many groups that a device has its hands full, each with more rows than are taken at once: parts of the same block
// are the same whatever group they are in.
TEST(block_attention, ManyGroupsOfManyRows) {
  constexpr int32_t kGroups = 1200, kRows = 40, kBlocks = 3, kHeads = 4, kDim = 64;
  RandomTensor q(DType::kF32, {kRows, kHeads, kDim}, 1), k(DType::kBF16, {kBlocks * 64, kDim}, 2),
      v(DType::kBF16, {kBlocks * 64, kDim}, 3);
  std::vector<int32_t> positions, groups = {0};
  std::vector<AttentionTile> tiles;
  std::vector<BlockAttentionArgs::Ref> refs;
  for (int32_t r = 0; r < kRows; ++r) positions.push_back(kBlocks * 64 - kRows + r);
  for (int32_t i = 0; i < kGroups; ++i) {
    const int32_t block = i % kBlocks;
    tiles.push_back(
        {k.view.row_bytes(block * 64), v.view.row_bytes(block * 64), nullptr, 0, block * 64, 64, i * kRows, kRows});
    for (int32_t r = 0; r < kRows; ++r) refs.push_back({r, i * kRows + r});
    groups.push_back(i + 1);
  }
  for (const BackendCase& backend : BackendCases()) {
    SCOPED_TRACE(backend.name);
    OwnedStates states(kGroups * kRows, kHeads, kDim);
    block_attention(*backend.make(), {},
                    {q.view, positions, tiles, refs, groups, states.view, DType::kBF16, 64, 0.125f});
    const size_t of_group = kRows * kHeads;
    for (size_t i = 0; i < kGroups * of_group; ++i) {
      const size_t first = i / of_group % kBlocks * of_group + i % of_group;
      ASSERT_GT(states.l[i], 0) << i;
      ASSERT_EQ(states.m[i], states.m[first]) << i;
      ASSERT_EQ(states.l[i], states.l[first]) << i;
      for (size_t d = 0; d < kDim; ++d) ASSERT_EQ(states.acc[i * kDim + d], states.acc[first * kDim + d]) << i;
    }
  }
}

TEST(block_attention, NothingToDoLeavesStatesAlone) {
  for (const BackendCase& backend : BackendCases()) {
    RandomTensor q(DType::kF32, {1, 4, 8}, 1), block(DType::kF32, {16, 8}, 2);
    const std::vector<int32_t> positions = {3};
    // No tokens; no refs; a block after the query.
    const std::vector<AttentionTile> tiles = {{block.buffer.data(), block.buffer.data(), nullptr, 0, 0, 0, 0, 1},
                                              {block.buffer.data(), block.buffer.data(), nullptr, 0, 0, 16, 0, 0},
                                              {block.buffer.data(), block.buffer.data(), nullptr, 0, 16, 16, 0, 1}};
    const std::vector<BlockAttentionArgs::Ref> refs = {{0, 0}};
    const std::vector<int32_t> groups = {0, 3};
    OwnedStates states(1, 4, 8), before(1, 4, 8);
    const auto made = backend.make();
    block_attention(*made, {}, {q.view, positions, tiles, refs, groups, states.view, DType::kF32, 16, 1.0f});
    block_attention(*made, {}, {q.view, positions, {}, {}, {}, states.view, DType::kF32, 16, 1.0f});
    EXPECT_TRUE(SameBits(states.m, before.m) && SameBits(states.l, before.l) && SameBits(states.acc, before.acc))
        << backend.name;
  }
}

}  // namespace
}  // namespace nosa::ops
