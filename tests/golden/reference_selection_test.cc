// The choice of blocks on numbers small enough to follow by hand.
#include "reference_selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace nosa::reference {
namespace {

using ::testing::ElementsAre;

// Blocks of 4 tokens, windows of 4 every 2: block b is covered by windows 2b-1, 2b, 2b+1. At t = 23 there are
// blocks 0 to 5 and windows 0 to 10; blocks 0, 4 and 5 are forced, one more is the query's, one more E's.
class ReferenceSelection : public ::testing::Test {
 protected:
  Choice At(Mode mode) {
    SelectionInput in;
    in.mode = mode;
    in.sparse = sparse_;
    in.t = t_;
    in.group = 2;
    in.head_dim = 1;
    in.q = q_;
    in.c = c_;
    in.c_stride = 1;
    in.sigma = sigma_;
    in.sigma_stride = 1;
    return SelectBlocks(in);
  }

  schema::SparseConfig sparse_ = {.block_size = 4,
                                  .kernel_size = 4,
                                  .kernel_stride = 2,
                                  .init_blocks = 1,
                                  .window_size = 4,
                                  .topk = 5,
                                  .query_topk = 2};
  TokenPos t_ = 23;
  double q_[2] = {1.0, 1.0};
  double c_[11] = {};
  double sigma_[11] = {};
};

TEST_F(ReferenceSelection, WindowsAreVisibleOnceComplete) {
  EXPECT_EQ(VisibleWindows(sparse_, 2), 0);
  EXPECT_EQ(VisibleWindows(sparse_, 3), 1);
  EXPECT_EQ(VisibleWindows(sparse_, 4), 1);
  EXPECT_EQ(VisibleWindows(sparse_, 5), 2);
  EXPECT_EQ(VisibleWindows(sparse_, 23), 11);
}

TEST_F(ReferenceSelection, QueryFirstThenImportance) {
  c_[5] = 3.0;  // in blocks 2 and 3: the lower one wins
  sigma_[6] = 2.0;
  sigma_[1] = 1.0;
  EXPECT_THAT(At(Mode::kNosa).selected, ElementsAre(1, 0, 1, 1, 1, 1));
  sigma_[1] = 4.0;  // block 1 through the window before it
  EXPECT_THAT(At(Mode::kNosa).selected, ElementsAre(1, 1, 1, 0, 1, 1));
  EXPECT_THAT(At(Mode::kInfLlm2).selected, ElementsAre(1, 0, 1, 1, 1, 1));
  sparse_.topk = 4;
  EXPECT_THAT(At(Mode::kDma).selected, ElementsAre(1, 1, 0, 0, 1, 1));
  EXPECT_THAT(At(Mode::kWindow).selected, ElementsAre(1, 0, 0, 0, 1, 1));
  EXPECT_THAT(At(Mode::kFull).selected, ElementsAre(1, 1, 1, 1, 1, 1));
}

TEST_F(ReferenceSelection, TheWindowBeforeABlockCoversIt) {
  sigma_[3] = 1.0;  // starts in block 1, reaches into block 2
  sigma_[2] = -1.0;
  sparse_.topk = 5;
  EXPECT_THAT(At(Mode::kDma).selected, ElementsAre(1, 1, 1, 0, 1, 1));
}

TEST_F(ReferenceSelection, HeadsOfAGroupAddUp) {
  // One head wants window 2 (block 1), the other window 6 (block 3), a little more so.
  q_[0] = 1.0;
  q_[1] = -1.1;
  c_[2] = 3.0;
  c_[6] = -3.0;
  EXPECT_THAT(At(Mode::kInfLlm2).selected, ElementsAre(1, 1, 0, 1, 1, 1));
  sparse_.topk = 4;
  EXPECT_THAT(At(Mode::kInfLlm2).selected, ElementsAre(1, 0, 0, 1, 1, 1));
}

TEST_F(ReferenceSelection, GapsSkipTiesOfASharedWindow) {
  c_[5] = 3.0;
  c_[7] = 2.0;  // only in block 3 (and the forced 4)
  const double total = std::exp(3.0) + std::exp(2.0) + 9.0;
  const Boundary query = At(Mode::kNosa).query;
  EXPECT_NEAR(query.score, 2.0 * std::exp(3.0) / total, 1e-12);
  // Block 3 ties with block 2 through window 5, and would pass it if window 7 passed window 5.
  EXPECT_NEAR(query.gap, 2.0 * (std::exp(3.0) - std::exp(2.0)) / total, 1e-12);
  sigma_[1] = 1.0;
  sigma_[6] = 0.75;
  EXPECT_NEAR(At(Mode::kNosa).importance.gap, 0.25, 1e-12);
  sigma_[6] = 1.0;  // equal by accident, from windows of their own: a real tie
  EXPECT_EQ(At(Mode::kNosa).importance.gap, 0.0);
  EXPECT_THAT(At(Mode::kNosa).selected, ElementsAre(1, 1, 1, 0, 1, 1));
  sparse_.topk = 6;
  EXPECT_EQ(At(Mode::kNosa).importance.gap, INFINITY);
}

}  // namespace
}  // namespace nosa::reference
