// What must hold of the reference on any model: independence of how a sequence is cut, and the relations
// between the modes. Random weights of small, awkward sizes.
#include <gtest/gtest.h>

#include <filesystem>
#include <numeric>

#include "base/rng.h"
#include "reference_model.h"
#include "schema/random_checkpoint.h"

namespace nosa::reference {
namespace {

schema::ModelConfig SmallConfig() {
  schema::ModelConfig config;
  config.architecture = "SparseLlamaForCausalLM";
  config.num_layers = 2;
  config.hidden_size = 24;
  config.num_heads = 6;
  config.num_kv_heads = 2;
  config.head_dim = 8;
  config.intermediate_size = 20;
  config.vocab_size = 50;
  config.max_position = 1024;
  config.has_importance = true;
  config.sparse_config_given = true;
  config.sparse = {.block_size = 8,
                   .kernel_size = 4,
                   .kernel_stride = 2,
                   .init_blocks = 1,
                   .window_size = 8,
                   .topk = 6,
                   .query_topk = 2};
  return config;
}

class ReferenceConsistency : public ::testing::Test {
 protected:
  ReferenceConsistency() {
    directory_ = std::filesystem::path(::testing::TempDir()) / "reference_consistency";
    EXPECT_TRUE(schema::WriteRandomCheckpoint(directory_, SmallConfig(), 3, DType::kF32).ok());
    weights_ = LoadWeights(directory_).value();
    const Philox random(5);
    for (uint64_t i = 0; i < 131; ++i) tokens_.push_back(static_cast<TokenId>(random.Block(i)[0] % 50));
  }
  ~ReferenceConsistency() override { std::filesystem::remove_all(directory_); }

  // The whole sequence in one call; logits and selections of every position.
  Output Whole(const Options& options, bool every_block = false) {
    Session session = Session::Create(weights_, options).value();
    return session.Append(tokens_, {.logits_last = 1000, .selection_last = 1000, .every_block = every_block});
  }

  std::filesystem::path directory_;
  std::shared_ptr<const Weights> weights_;
  std::vector<TokenId> tokens_;
};

TEST_F(ReferenceConsistency, CuttingASequenceChangesNothing) {
  for (const Mode mode : {Mode::kNosa, Mode::kInfLlm2, Mode::kDma, Mode::kFull, Mode::kWindow}) {
    const Output whole = Whole({.mode = mode});
    Session session = Session::Create(weights_, {.mode = mode}).value();
    std::vector<double> logits;
    size_t at = 0;
    for (const size_t cut : {size_t{1}, size_t{7}, size_t{33}, size_t{1}, size_t{64}, size_t{25}}) {
      const Output part =
          session.Append(std::span(tokens_).subspan(at, cut), {.logits_last = 1000, .selection_last = 1000});
      logits.insert(logits.end(), part.logits.begin(), part.logits.end());
      for (size_t i = 0; i < cut; ++i) EXPECT_EQ(part.selections[i].selected, whole.selections[at + i].selected);
      at += cut;
    }
    ASSERT_EQ(at, tokens_.size());
    EXPECT_EQ(logits, whole.logits);  // to the bit: the same sums in the same order
  }
}

TEST_F(ReferenceConsistency, SelectionsHaveTheSizesOfTheirMode) {
  const schema::SparseConfig& sparse = ConfigOf(*weights_).sparse;
  const int forced = sparse.init_blocks + sparse.local_blocks() + 1;
  for (const Mode mode : {Mode::kNosa, Mode::kInfLlm2, Mode::kDma, Mode::kFull, Mode::kWindow}) {
    const Output whole = Whole({.mode = mode});
    ASSERT_EQ(whole.selections.size(), tokens_.size());
    for (const Selection& s : whole.selections) {
      EXPECT_EQ(s.blocks, s.position / 8 + 1);
      const int most = mode == Mode::kFull ? s.blocks : mode == Mode::kWindow ? forced : sparse.topk;
      for (size_t head = 0; head < 4; ++head) {
        const uint8_t* row = s.selected.data() + head * static_cast<size_t>(s.blocks);
        EXPECT_EQ(std::accumulate(row, row + s.blocks, 0), std::min(most, s.blocks));
        EXPECT_EQ(row[0], 1);
        EXPECT_EQ(row[s.blocks - 1], 1);
        EXPECT_EQ(row[std::max(0, s.blocks - 2)], 1);  // the local block
      }
    }
  }
}

TEST_F(ReferenceConsistency, ModesDifferAndMeetWhereTheyShould) {
  const Output nosa = Whole({.mode = Mode::kNosa}), all = Whole({.mode = Mode::kNosa, .topk = 17});
  EXPECT_EQ(all.logits, Whole({.mode = Mode::kNosa}, true).logits);  // k >= blocks is the dense form with the bias
  EXPECT_EQ(all.logits, Whole({.mode = Mode::kDma, .topk = 17}).logits);
  EXPECT_EQ(Whole({.mode = Mode::kFull}).logits, Whole({.mode = Mode::kInfLlm2, .topk = 17}).logits);
  // Up to topk blocks nothing is left out: equal to the bit, and different afterwards.
  const auto until = static_cast<ptrdiff_t>(6 * 8 * 50);
  EXPECT_TRUE(std::equal(nosa.logits.begin(), nosa.logits.begin() + until, all.logits.begin()));
  EXPECT_NE(nosa.logits, all.logits);
  EXPECT_NE(nosa.logits, Whole({.mode = Mode::kInfLlm2}).logits);
  EXPECT_NE(nosa.logits, Whole({.mode = Mode::kDma}).logits);
  EXPECT_NE(nosa.logits, Whole({.mode = Mode::kNosa, .query_topk = 1}).logits);
  EXPECT_LT(nosa.selections.back().SmallestGap(), INFINITY);
  EXPECT_EQ(all.selections.back().SmallestGap() < INFINITY, true);  // the query-aware choice still leaves blocks out
}

TEST_F(ReferenceConsistency, GreedyEntersTheCache) {
  Session session = Session::Create(weights_, {}).value();
  session.Append(tokens_, {});
  const Greedy greedy = session.Continue(20);
  ASSERT_EQ(greedy.tokens.size(), 20u);
  EXPECT_EQ(session.length(), static_cast<TokenPos>(tokens_.size() + 19));
  std::vector<TokenId> longer = tokens_;
  longer.insert(longer.end(), greedy.tokens.begin(), greedy.tokens.end() - 1);
  Session again = Session::Create(weights_, {}).value();
  again.Append(longer, {});
  EXPECT_EQ(again.Continue(1).tokens[0], greedy.tokens.back());
}

TEST_F(ReferenceConsistency, Errors) {
  EXPECT_EQ(Session::Create(weights_, {.topk = 1}).status().code(), StatusCode::kInvalidArgument);
  schema::ModelConfig plain = SmallConfig();
  plain.has_importance = false;
  ASSERT_TRUE(schema::WriteRandomCheckpoint(directory_, plain, 3, DType::kBF16).ok());
  const auto without = LoadWeights(directory_).value();
  for (const Mode mode : {Mode::kNosa, Mode::kDma}) {
    const Status status = Session::Create(without, {.mode = mode}).status();
    EXPECT_EQ(status.code(), StatusCode::kFailedPrecondition);
    EXPECT_EQ(status.message(),
              "expected a checkpoint with importance tensors, found SparseLlamaForCausalLM without them");
  }
  for (const Mode mode : {Mode::kInfLlm2, Mode::kFull, Mode::kWindow}) {
    EXPECT_TRUE(Session::Create(without, {.mode = mode}).ok());
  }
}

}  // namespace
}  // namespace nosa::reference
