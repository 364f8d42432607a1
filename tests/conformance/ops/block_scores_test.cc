#include "ops/block_scores.h"

#include "op_test.h"

namespace nosa::ops {
namespace {

TEST(block_scores, MatchesTheTwin) {
  const auto reference = reference::MakeReferenceBackend();
  for (const BackendCase& backend : BackendCases()) {
    for (const int stride : {1, 2, 4, 7}) {
      const RandomTensor values(DType::kF32, {4096}, static_cast<uint64_t>(stride));
      std::vector<BlockScoresArgs::Row> rows;
      std::vector<TestVector<float>> expected, found;
      for (const int windows :
           {0, 1, 2, stride - 1, stride, stride + 1, 5 * stride - 1, 5 * stride, 5 * stride + 1, 500}) {
        for (const int blocks : {0, 1, 5, 6, 7, 130}) {
          rows.push_back({values.buffer.as<float>(), nullptr, windows, blocks});
          expected.emplace_back(static_cast<size_t>(blocks) + 1, 77.0f);
        }
      }
      found = expected;
      const auto run = [&](Backend& b, std::vector<TestVector<float>>& out) {
        for (size_t i = 0; i < rows.size(); ++i) rows[i].out = out[i].data();
        block_scores(b, {}, {rows, stride});
      };
      run(*reference, expected);
      run(*backend.make(), found);
      EXPECT_EQ(expected, found) << backend.name << " stride " << stride;
    }
  }
}

// By hand, so that the twin is judged too: 2 windows in a block, window 2b - 1 reaches into block b.
TEST(block_scores, TwinCoversTheWindowBefore) {
  const std::vector<float> values = {1, 9, 2, 3, 4};
  std::vector<float> out(4);
  const BlockScoresArgs::Row row{values.data(), out.data(), 5, 4};
  block_scores(*reference::MakeReferenceBackend(), {}, {{&row, 1}, 2});
  EXPECT_EQ(out, (std::vector<float>{9, 9, 4, -INFINITY}));
}

}  // namespace
}  // namespace nosa::ops
