// Every selector of selectors.def, and the five of docs/nosa.md against its double-precision reading.
#include <gmock/gmock.h>

#include "../../golden/reference_selection.h"
#include "selector_conformance.h"

namespace nosa::attention {
namespace {

std::vector<SelectorCase> Cases() {
  std::vector<SelectorCase> cases;
  for (const std::string& name : SelectorNames()) {
    cases.push_back(
        {name, [](const std::string& n, const AttentionConfig& config) { return MakeSelector(n, config).value(); },
         name == "full"});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Registered, SelectorConformance, testing::ValuesIn(Cases()), SelectorCaseName);

TEST(SelectorRegistry, AnUnknownNameListsTheKnown) {
  const auto selector = MakeSelector("noisa", SelectorConfigs()[0]);
  ASSERT_FALSE(selector.ok());
  EXPECT_EQ(selector.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(selector.status().message()),
              testing::HasSubstr("\"noisa\"; known: nosa, infllm2, dma, full, window"));
}

struct TwinCase {
  std::string name;
  reference::Mode mode;
  friend std::ostream& operator<<(std::ostream& out, const TwinCase& c) { return out << c.name; }
};

class SelectorTwin : public testing::TestWithParam<TwinCase> {
 protected:
  static reference::Choice Twin(const AttentionConfig& c, reference::Mode mode, const SelectorProblem& problem, int row,
                                int g) {
    const std::vector<double> q = problem.Query(row, g), keys = problem.Keys(row, g), sigma = problem.Sigma(row, g);
    return reference::SelectBlocks({.mode = mode,
                                    .sparse = {.block_size = c.block_size,
                                               .kernel_size = c.kernel_size,
                                               .kernel_stride = c.kernel_stride,
                                               .init_blocks = c.init_blocks,
                                               .window_size = c.local_blocks * c.block_size,
                                               .topk = c.topk,
                                               .query_topk = c.query_topk},
                                    .t = problem.position(row),
                                    .group = c.group(),
                                    .head_dim = c.head_dim,
                                    .q = q.data(),
                                    .c = keys.data(),
                                    .c_stride = static_cast<size_t>(c.head_dim),
                                    .sigma = sigma.data(),
                                    .sigma_stride = 1});
  }

  // Scores are exponentials of sums of head_dim products, in f32.
  static bool NearTie(const reference::Boundary& edge) { return edge.gap <= 64 * 0x1p-23 * std::abs(edge.score); }
};

TEST_P(SelectorTwin, SameBlocksAsTheReading) {
  int compared = 0, ties = 0, left_out = 0;
  const auto cpu = cpu::MakeCpuBackend(2), scalar = ops::reference::MakeReferenceBackend();
  uint64_t seed = 100;
  for (const AttentionConfig& c : SelectorConfigs()) {
    const auto selector = MakeSelector(GetParam().name, c).value();
    for (const bool coarse : {false, true}) {
      SCOPED_TRACE(Text(c) + (coarse ? " with ties" : ""));
      SelectorProblem problem(c, SelectorRanges(c), ++seed, coarse);
      const Selection selections[] = {problem.Run(*selector, cpu.get()), problem.Run(*selector, scalar.get())};
      for (int r = 0; r < problem.rows(); ++r) {
        for (int g = 0; g < c.kv_heads; ++g) {
          const reference::Choice choice = Twin(c, GetParam().mode, problem, r, g);
          std::vector<int> expected;
          for (size_t b = 0; b < choice.selected.size(); ++b) {
            if (choice.selected[b] != 0) expected.push_back(static_cast<int>(b));
          }
          left_out += expected.size() < choice.selected.size() ? 1 : 0;
          for (const Selection& selection : selections) {
            ++compared;
            if (Blocks(selection, r, g) == expected) continue;
            // Equal importance of different windows is a tie in f32 and in double alike: the lower block, no excuse.
            const bool near = NearTie(choice.query) || (choice.importance.gap > 0 && NearTie(choice.importance));
            ties += near ? 1 : 0;
            EXPECT_TRUE(near) << "position " << problem.position(r) << " head " << g << ": "
                              << testing::PrintToString(Blocks(selection, r, g)) << " for "
                              << testing::PrintToString(expected);
          }
        }
      }
    }
  }
  std::printf("%s: %d selections, %d leave blocks out, %d near-ties decided otherwise\n", GetParam().name.c_str(),
              compared, left_out, ties);
  EXPECT_LE(ties, compared / 500);
  EXPECT_TRUE(left_out > compared / 5 || GetParam().mode == reference::Mode::kFull);
}

INSTANTIATE_TEST_SUITE_P(Modes, SelectorTwin,
                         testing::Values(TwinCase{"nosa", reference::Mode::kNosa},
                                         TwinCase{"infllm2", reference::Mode::kInfLlm2},
                                         TwinCase{"dma", reference::Mode::kDma},
                                         TwinCase{"full", reference::Mode::kFull},
                                         TwinCase{"window", reference::Mode::kWindow}),
                         [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace nosa::attention
