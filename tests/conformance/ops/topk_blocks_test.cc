#include "ops/topk_blocks.h"

#include <bit>

#include "op_test.h"

namespace nosa::ops {
namespace {

enum class Fill { kNormal, kFewValues, kAllEqual, kInfinities, kZeros };

TestVector<float> Draw(int32_t blocks, Fill fill, uint64_t stream) {
  const Philox rng(3, stream);
  TestVector<float> scores;
  for (int32_t b = 0; b < blocks; ++b) {
    const float x = rng.Normal(static_cast<uint64_t>(b));
    switch (fill) {
      case Fill::kNormal: scores.push_back(x); break;
      case Fill::kFewValues: scores.push_back(std::round(x)); break;
      case Fill::kAllEqual: scores.push_back(-1.5f); break;
      case Fill::kInfinities: scores.push_back(x > 0.7f ? INFINITY : x < -0.2f ? -INFINITY : x); break;
      case Fill::kZeros: scores.push_back(x > 0 ? 0.0f : -0.0f); break;
    }
  }
  return scores;
}

TestVector<uint64_t> DrawMask(int32_t blocks, float density, uint64_t stream) {
  const Philox rng(4, stream);
  TestVector<uint64_t> mask(static_cast<size_t>(CeilDiv(blocks, 64)) + 1, 0);
  for (int32_t b = 0; b < blocks; ++b) {
    if (rng.Uniform(static_cast<uint64_t>(b)) < density) mask[static_cast<size_t>(b / 64)] |= uint64_t{1} << (b % 64);
  }
  return mask;
}

TEST(topk_blocks, MatchesTheTwin) {
  const auto reference = reference::MakeReferenceBackend();
  for (const BackendCase& backend_case : BackendCases()) {
    const auto backend = backend_case.make();
    for (const int k : {0, 1, 8, 32, 64, 100}) {
      std::vector<TestVector<float>> scores;
      std::vector<TestVector<uint64_t>> expected, found;
      uint64_t stream = 0;
      for (const int32_t blocks : {0, 1, 2, 7, 8, 9, 31, 63, 64, 65, 100, 101, 127, 128, 512, 1000, 2048}) {
        for (const Fill fill : {Fill::kNormal, Fill::kFewValues, Fill::kAllEqual, Fill::kInfinities, Fill::kZeros}) {
          for (const float density : {0.0f, 0.02f, 0.5f, 1.0f}) {
            ++stream;
            scores.push_back(Draw(blocks, fill, stream));
            expected.push_back(DrawMask(blocks, density, stream));
          }
        }
      }
      found = expected;
      const std::vector<TestVector<uint64_t>> before = expected;
      const auto run = [&](Backend& b, std::vector<TestVector<uint64_t>>& masks) {
        std::vector<TopkBlocksArgs::Row> rows;
        for (size_t i = 0; i < scores.size(); ++i)
          rows.push_back({scores[i].data(), masks[i].data(), static_cast<int32_t>(scores[i].size())});
        topk_blocks(b, {}, {rows, k});
      };
      run(*reference, expected);
      run(*backend, found);
      for (size_t i = 0; i < scores.size(); ++i) {
        ASSERT_EQ(expected[i], found[i]) << backend_case.name << " k " << k << " blocks " << scores[i].size() << " row "
                                         << i;
        int had = 0, has = 0;
        for (size_t w = 0; w < found[i].size(); ++w) {
          had += std::popcount(before[i][w]);
          has += std::popcount(found[i][w]);
          ASSERT_EQ(before[i][w] & ~found[i][w], 0u) << "a member was dropped";
        }
        ASSERT_EQ(has, std::max(had, std::min(k, static_cast<int>(scores[i].size()))));
      }
    }
  }
}

// By hand: ties to the lower index, members count, -inf last.
TEST(topk_blocks, TwinBreaksTiesDownwards) {
  const std::vector<float> scores = {-INFINITY, 2, 1, 2, -0.0f, 2, 0.0f};
  const auto select = [&](uint64_t mask, int k) {
    const TopkBlocksArgs::Row row{scores.data(), &mask, 7};
    topk_blocks(*reference::MakeReferenceBackend(), {}, {{&row, 1}, k});
    return mask;
  };
  EXPECT_EQ(select(0, 2), 0b0001010u);
  EXPECT_EQ(select(0b1000000, 2), 0b1000010u);
  EXPECT_EQ(select(0, 5), 0b0111110u);
  EXPECT_EQ(select(0b11, 1), 0b11u);
  EXPECT_EQ(select(0, 6), 0b1111110u);
  EXPECT_EQ(select(0, 9), 0b1111111u);
}

}  // namespace
}  // namespace nosa::ops
