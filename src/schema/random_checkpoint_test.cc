#include "schema/random_checkpoint.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>

#include "io/safetensors.h"
#include "schema/tensors.h"
#include "schema/test_configs.h"

namespace nosa::schema {
namespace {

using ::testing::HasSubstr;
using testing::SmallConfig;

class RandomCheckpointTest : public ::testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(directory_); }

  struct Moments {
    double mean = 0.0, deviation = 0.0, min = INFINITY, max = -INFINITY;
  };
  Moments MomentsOf(const io::Safetensors& checkpoint, const std::string& name) {
    const ConstTensorView tensor = checkpoint.Get(name).value();
    Moments m;
    double squares = 0.0;
    const size_t count = static_cast<size_t>(tensor.shape().elements());
    for (size_t i = 0; i < count; ++i) {
      const double x = LoadFloat(tensor.bytes(), tensor.dtype(), i);
      m.mean += x / static_cast<double>(count);
      squares += x * x / static_cast<double>(count);
      m.min = std::min(m.min, x);
      m.max = std::max(m.max, x);
    }
    m.deviation = std::sqrt(squares - m.mean * m.mean);
    return m;
  }

  std::filesystem::path directory_ = std::filesystem::path(::testing::TempDir()) / "random_checkpoint_test/nested";
  ModelConfig config_ = SmallConfig();
};

TEST_F(RandomCheckpointTest, ReadsBackAsWritten) {
  for (const bool importance : {true, false}) {
    for (const DType dtype : {DType::kF32, DType::kBF16}) {
      config_.has_importance = importance;
      ASSERT_TRUE(WriteRandomCheckpoint(directory_, config_, 7, dtype).ok());
      ModelConfig config = ReadModelConfig(directory_).value();
      const auto checkpoint = io::Safetensors::OpenDirectory(directory_).value();
      const Status status = ValidateTensors(*checkpoint, &config);
      ASSERT_TRUE(status.ok()) << status.ToString();
      EXPECT_EQ(config.has_importance, importance);
      EXPECT_EQ(config.dtype, dtype);
      EXPECT_EQ(checkpoint->Get("model.norm.weight").value().dtype(), dtype);
      EXPECT_EQ(config.sparse.topk, config_.sparse.topk);
      EXPECT_EQ(config.eos_tokens, config_.eos_tokens);
      EXPECT_EQ(ConfigToJson(config), ConfigToJson([&] {
                  auto c = config_;
                  c.dtype = dtype;
                  return c;
                }()));
    }
  }
}

TEST_F(RandomCheckpointTest, WeightsHaveTheScaleTheHeaderPromises) {
  config_.hidden_size = 256;
  config_.tie_embeddings = false;
  ASSERT_TRUE(WriteRandomCheckpoint(directory_, config_, 7, DType::kF32).ok());
  const auto checkpoint = io::Safetensors::OpenDirectory(directory_).value();
  // 16 Ki draws: the deviation of a sample lies within 3 % of the true one.
  EXPECT_NEAR(MomentsOf(*checkpoint, "model.layers.0.self_attn.v_proj.weight").deviation, 1.0 / 16.0, 0.03 / 16.0);
  EXPECT_NEAR(MomentsOf(*checkpoint, "model.layers.0.self_attn.q_proj.weight").deviation, 2.0 / 16.0, 0.06 / 16.0);
  EXPECT_NEAR(MomentsOf(*checkpoint, "model.embed_tokens.weight").deviation, 1.0, 0.03);
  EXPECT_NEAR(MomentsOf(*checkpoint, "model.norm.weight").mean, 1.0, 0.03);
  const Moments a = MomentsOf(*checkpoint, "model.layers.1.self_attn.A");
  EXPECT_GE(a.min, 0.3);
  EXPECT_LE(a.max, 0.9);
  EXPECT_GT(a.deviation, 0.0);
}

TEST_F(RandomCheckpointTest, OtherWeightsDoNotDependOnImportance) {
  const auto first = [&](bool importance) {
    config_.has_importance = importance;
    EXPECT_TRUE(WriteRandomCheckpoint(directory_, config_, 7, DType::kF32).ok());
    return *io::Safetensors::OpenDirectory(directory_)
                .value()
                ->Get("model.layers.1.mlp.up_proj.weight")
                .value()
                .row<float>(3);
  };
  EXPECT_EQ(first(true), first(false));
}

TEST_F(RandomCheckpointTest, Errors) {
  EXPECT_EQ(WriteRandomCheckpoint(directory_, config_, 7, DType::kF16).message(),
            "expected f32 or bf16 for a random checkpoint, found f16");
  config_.num_layers = 0;
  EXPECT_THAT(WriteRandomCheckpoint(directory_, config_, 7, DType::kF32).message(),
              HasSubstr("the config of a random checkpoint: expected num_hidden_layers from 1 to 1024, found 0"));
  EXPECT_FALSE(std::filesystem::exists(directory_));
  EXPECT_THAT(WriteRandomCheckpoint("/dev/null/x", SmallConfig(), 7, DType::kF32).message(),
              HasSubstr("cannot make the directory /dev/null/x: "));
}

}  // namespace
}  // namespace nosa::schema
