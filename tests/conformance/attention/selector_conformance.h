// What every block selector must do. A program instantiates it over its selectors:
//   INSTANTIATE_TEST_SUITE_P(Mine, SelectorConformance, testing::ValuesIn(...), SelectorCaseName);
#pragma once

#include <gtest/gtest.h>

#include <cctype>
#include <memory>
#include <ostream>
#include <string>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "ops/reference/reference_backend.h"
#include "selector_problem.h"

namespace nosa::attention {

struct SelectorCase {
  std::string name;
  std::unique_ptr<BlockSelector> (*make)(const std::string& name, const AttentionConfig& config);
  bool every_block = false;  // dense: not held to k blocks
  friend std::ostream& operator<<(std::ostream& out, const SelectorCase& c) { return out << c.name; }
};

inline std::string SelectorCaseName(const testing::TestParamInfo<SelectorCase>& info) {
  std::string name = info.param.name;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';
  }
  return name;
}

class SelectorConformance : public testing::TestWithParam<SelectorCase> {
 protected:
  std::unique_ptr<BlockSelector> Make(const AttentionConfig& config) const {
    return GetParam().make(GetParam().name, config);
  }

  // Calls f(config, selector, problem) over shapes, values that differ and values that tie.
  template <typename F>
  void ForEachProblem(F&& f) const {
    uint64_t seed = 0;
    for (AttentionConfig config : SelectorConfigs()) {
      // Models without importance run what does not need it.
      for (const bool importance : {true, false}) {
        config.has_importance = importance;
        const auto selector = Make(config);
        if (!importance && selector->traits().needs_importance) continue;
        for (const bool coarse : {false, true}) {
          SCOPED_TRACE(Text(config) + (coarse ? " with ties" : "") + (importance ? "" : " without importance"));
          SelectorProblem problem(config, SelectorRanges(config), ++seed, coarse);
          f(config, *selector, problem);
        }
      }
    }
  }

  std::unique_ptr<ops::Backend> cpu1_ = cpu::MakeCpuBackend(1), cpu3_ = cpu::MakeCpuBackend(3);
  std::unique_ptr<ops::Backend> reference_ = ops::reference::MakeReferenceBackend();
};

TEST_P(SelectorConformance, SaysItsName) { EXPECT_EQ(Make(SelectorConfigs()[0])->name(), GetParam().name); }

TEST_P(SelectorConformance, ForcedBlocksAlwaysNoneBeyondTheQueryAtMostK) {
  ForEachProblem([&](const AttentionConfig& c, const BlockSelector& selector, SelectorProblem& problem) {
    const Selection selection = problem.Run(selector, cpu1_.get());
    for (int r = 0; r < problem.rows(); ++r) {
      const int own = problem.position(r) / c.block_size;
      for (int g = 0; g < c.kv_heads; ++g) {
        const std::vector<int> blocks = Blocks(selection, r, g);
        ASSERT_FALSE(blocks.empty()) << "position " << problem.position(r);
        EXPECT_EQ(blocks.back(), own) << "position " << problem.position(r);
        for (int b = 0; b <= own; ++b) {
          if (b >= c.init_blocks && b < own - c.local_blocks) continue;
          EXPECT_TRUE(GetBit(selection.Mask(r, g), b))
              << "forced block " << b << " at position " << problem.position(r);
        }
        if (!GetParam().every_block) {
          EXPECT_LE(static_cast<int>(blocks.size()), c.topk) << "position " << problem.position(r);
        }
      }
    }
  });
}

// A row alone, and any cut of the rows into calls, give what all of them together give.
TEST_P(SelectorConformance, RowsDoNotInfluenceEachOther) {
  ForEachProblem([&](const AttentionConfig& c, const BlockSelector& selector, SelectorProblem& problem) {
    const Selection together = problem.Run(selector, cpu1_.get());
    int cut = 1;
    for (int begin = 0; begin < problem.rows(); begin += cut, cut = cut % 7 + 1) {
      const int count = std::min(cut, problem.rows() - begin);
      const Selection part = problem.Run(selector, cpu1_.get(), begin, count);
      for (int r = 0; r < count; ++r) {
        for (int g = 0; g < c.kv_heads; ++g) {
          EXPECT_EQ(Blocks(part, r, g), Blocks(together, begin + r, g)) << "position " << problem.position(begin + r);
        }
      }
    }
  });
}

TEST_P(SelectorConformance, ThreadsAndRepetitionChangeNothing) {
  ForEachProblem([&](const AttentionConfig& c, const BlockSelector& selector, SelectorProblem& problem) {
    const Selection once = problem.Run(selector, cpu1_.get()), again = problem.Run(selector, cpu1_.get());
    const Selection threads = problem.Run(*Make(c), cpu3_.get());
    for (int r = 0; r < problem.rows(); ++r) {
      for (int g = 0; g < c.kv_heads; ++g) {
        EXPECT_EQ(Blocks(once, r, g), Blocks(again, r, g));
        EXPECT_EQ(Blocks(once, r, g), Blocks(threads, r, g));
      }
    }
  });
}

// Backends round differently, and may only decide otherwise where scores are as close as that: in random values hardly
// ever.
TEST_P(SelectorConformance, BackendsAgreeButForNearTies) {
  int compared = 0, different = 0;
  ForEachProblem([&](const AttentionConfig& c, const BlockSelector& selector, SelectorProblem& problem) {
    const Selection cpu = problem.Run(selector, cpu1_.get()), scalar = problem.Run(selector, reference_.get());
    for (int r = 0; r < problem.rows(); ++r) {
      for (int g = 0; g < c.kv_heads; ++g, ++compared) different += Blocks(cpu, r, g) != Blocks(scalar, r, g) ? 1 : 0;
    }
  });
  EXPECT_LE(different, compared / 500) << "of " << compared;
}

}  // namespace nosa::attention
