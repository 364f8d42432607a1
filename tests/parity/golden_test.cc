// The engine against the goldens of an independent implementation (models/nosa-21m/MODEL_CARD.md).
#include <cmath>

#include "io/safetensors.h"
#include "tests/parity/engine_test_util.h"

namespace nosa::engine {
namespace {

struct GoldenCase {
  std::string prompt;     // "70" or "2500"
  std::string attention;  // "nosa" or "full"
  std::string backend = "cpu";
};

class GoldenTest : public testing::TestWithParam<GoldenCase> {
 protected:
  ConstTensorView Golden(const std::string& name) {
    const auto view = goldens_->Get(GetParam().prompt + "." + name);
    EXPECT_TRUE(view.ok()) << view.status().ToString();
    return *view;
  }
  std::vector<TokenId> Ids(const std::string& name) {
    const ConstTensorView view = Golden(name);
    return {view.row<TokenId>(0), view.row<TokenId>(0) + view.shape().elements()};
  }

  std::shared_ptr<const io::Safetensors> goldens_ = *io::Safetensors::OpenFile(DemoModel() + "/goldens.safetensors");
};

TEST_P(GoldenTest, F32MatchesLogitsSelectionAndGreedyTokens) {
  if (const std::string why = WhyNot(GetParam().backend); !why.empty()) GTEST_SKIP() << why;
  RigOptions options;
  options.backend = GetParam().backend;
  options.load.dtype = DType::kF32;
  options.engine.attention.selector = GetParam().attention;
  const Rig rig = MakeRig(std::move(options));
  const Outcome outcome = RunRequest(
      *rig.engine,
      {.prompt = Ids("prompt"), .max_tokens = 16, .ignore_eos = true, .prompt_logits = 8, .record_selection = true});

  const ConstTensorView expected = Golden(GetParam().attention + ".logits_last8");
  ASSERT_EQ(outcome.logits.size(), 8u);
  double worst = 0;
  for (int64_t r = 0; r < 8; ++r) {
    for (int64_t i = 0; i < expected.dim(1); ++i) {
      worst = std::max<double>(
          worst, std::abs(outcome.logits[static_cast<size_t>(r)][static_cast<size_t>(i)] - expected.row<float>(r)[i]));
    }
  }
  RecordProperty("max_logit_difference", std::to_string(worst));
  EXPECT_LT(worst, 2e-3);
  EXPECT_EQ(outcome.result.ids, Ids(GetParam().attention + ".greedy16"));

  if (GetParam().attention != "nosa") return;
  const ConstTensorView selected = Golden("nosa.selected_last");  // [layers, kv heads, blocks]
  for (int64_t layer = 0; layer < selected.dim(0); ++layer) {
    for (int64_t g = 0; g < selected.dim(1); ++g) {
      std::vector<int> blocks;
      for (int64_t b = 0; b < selected.dim(2); ++b) {
        if (selected.row<uint8_t>(layer)[g * selected.dim(2) + b] != 0) blocks.push_back(static_cast<int>(b));
      }
      EXPECT_EQ(outcome.selected.back()[static_cast<size_t>(layer)][static_cast<size_t>(g)], blocks)
          << "layer " << layer << " head " << g;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Goldens, GoldenTest,
                         testing::Values(GoldenCase{"70", "nosa"}, GoldenCase{"70", "full"}, GoldenCase{"2500", "nosa"},
                                         GoldenCase{"2500", "full"}, GoldenCase{"70", "nosa", "cuda"},
                                         GoldenCase{"70", "full", "cuda"}, GoldenCase{"2500", "nosa", "cuda"},
                                         GoldenCase{"2500", "full", "cuda"}),
                         [](const auto& info) {
                           return info.param.prompt + "_" + info.param.attention + "_" + info.param.backend;
                         });

}  // namespace
}  // namespace nosa::engine
