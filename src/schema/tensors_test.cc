#include "schema/tensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "schema/random_checkpoint.h"
#include "schema/test_configs.h"
#include "tensor/buffer.h"

namespace nosa::schema {
namespace {

using ::testing::HasSubstr;
using testing::SmallConfig;

// A checkpoint of zeros that tests bend: what to leave out, and what to hold with another shape or dtype.
struct Bent {
  std::vector<std::string> without = {};
  std::map<std::string, Shape> shapes = {};
  std::map<std::string, DType> dtypes = {};
  std::map<std::string, Shape> extra = {};
};

class TensorsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    directory_ =
        std::filesystem::path(::testing::TempDir()) / ::testing::UnitTest::GetInstance()->current_test_info()->name();
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::shared_ptr<const io::Safetensors> Write(const ModelConfig& config, const Bent& bent) {
    io::SafetensorsWriter writer;
    std::vector<Buffer> buffers;
    const auto add = [&](const std::string& name, Shape shape) {
      const DType dtype = bent.dtypes.contains(name) ? bent.dtypes.at(name) : DType::kF32;
      buffers.push_back(Buffer::Host(static_cast<size_t>(shape.elements()) * DTypeBytes(dtype)));
      writer.Add(name, buffers.back().View(dtype, shape));
    };
    for (const TensorSpec& spec : ExpectedTensors(config)) {
      if (std::find(bent.without.begin(), bent.without.end(), spec.name) != bent.without.end()) continue;
      add(spec.name, bent.shapes.contains(spec.name) ? bent.shapes.at(spec.name) : spec.shape);
    }
    for (const auto& [name, shape] : bent.extra) add(name, shape);
    const std::filesystem::path file = directory_ / "model.safetensors";
    EXPECT_TRUE(writer.Write(file).ok());
    return io::Safetensors::OpenDirectory(directory_).value();
  }

  Status Validate(const Bent& bent) {
    config_.has_importance = false;
    return ValidateTensors(*Write(config_, bent), &config_);
  }

  std::filesystem::path directory_;
  ModelConfig config_ = SmallConfig();
};

TEST_F(TensorsTest, SpecsAreInFileOrder) {
  config_.tie_embeddings = false;
  const std::vector<TensorSpec> specs = ExpectedTensors(config_);
  ASSERT_EQ(specs.size(), 1u + 2 * 11 + 2);
  EXPECT_EQ(specs.front().name, "model.embed_tokens.weight");
  EXPECT_EQ(specs.front().shape, Shape({96, 32}));
  EXPECT_EQ(specs[2].name, "model.layers.0.self_attn.q_proj.weight");
  EXPECT_EQ(specs[2].shape, Shape({64, 32}));
  EXPECT_EQ(specs[6].name, "model.layers.0.self_attn.delta.weight");
  EXPECT_EQ(specs[6].shape, Shape({2, 32}));
  EXPECT_TRUE(specs[6].optional);
  EXPECT_EQ(specs.back().name, "lm_head.weight");
  config_.tie_embeddings = true;
  EXPECT_EQ(ExpectedTensors(config_).back().name, "model.norm.weight");
}

TEST_F(TensorsTest, WholeCheckpointsPass) {
  EXPECT_TRUE(Validate({}).ok());
  EXPECT_TRUE(config_.has_importance);
  config_.tie_embeddings = false;
  EXPECT_TRUE(Validate({}).ok());
  Bent plain;
  for (const TensorSpec& spec : ExpectedTensors(config_)) {
    if (spec.optional) plain.without.push_back(spec.name);
  }
  EXPECT_TRUE(Validate(plain).ok());
  EXPECT_FALSE(config_.has_importance);
}

TEST_F(TensorsTest, WrongShapeNamesBothSides) {
  const Status k = Validate({.shapes = {{"model.layers.0.self_attn.k_proj.weight", {32, 64}}}});
  EXPECT_EQ(k.code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(k.message(), "expected model.layers.0.self_attn.k_proj.weight [32, 32], found [32, 64] in " +
                             io::Safetensors::OpenDirectory(directory_).value()->FileOf("model.norm.weight"));
  EXPECT_THAT(Validate({.shapes = {{"model.layers.1.self_attn.A", {2, 1}}}}).message(),
              HasSubstr("expected model.layers.1.self_attn.A [2], found [2, 1] in "));
}

TEST_F(TensorsTest, WrongDtype) {
  const Status half = Validate({.dtypes = {{"model.norm.weight", DType::kF16}}});
  EXPECT_EQ(half.code(), StatusCode::kUnimplemented);
  EXPECT_THAT(half.message(), HasSubstr("model.norm.weight is f16 in "));
  EXPECT_THAT(half.message(), HasSubstr(", only f32 and bf16 are implemented"));
  const Status bytes = Validate({.dtypes = {{"model.norm.weight", DType::kU8}}});
  EXPECT_EQ(bytes.code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(bytes.message(), HasSubstr("expected model.norm.weight as f32 or bf16, found u8 in "));
  EXPECT_TRUE(Validate({.dtypes = {{"model.norm.weight", DType::kBF16}}}).ok());
}

TEST_F(TensorsTest, MissingTensorIsNamed) {
  const Status error = Validate({.without = {"model.layers.1.mlp.up_proj.weight"}});
  EXPECT_EQ(error.code(), StatusCode::kNotFound);
  EXPECT_THAT(error.message(), HasSubstr("model.layers.1.mlp.up_proj.weight"));
}

TEST_F(TensorsTest, ImportanceInSomeLayersOnly) {
  EXPECT_EQ(Validate({.without = {"model.layers.1.self_attn.A"}}).message(),
            "expected the 4 tensors delta.weight and A of all layers or none of them, found 3: "
            "model.layers.1.self_attn.A is missing");
}

TEST_F(TensorsTest, TensorsNobodyReadsAreRefused) {
  const Status bias = Validate({.extra = {{"model.layers.0.self_attn.q_proj.bias", {64}}}});
  EXPECT_EQ(bias.code(), StatusCode::kUnimplemented);
  EXPECT_THAT(bias.message(),
              HasSubstr(" holds model.layers.0.self_attn.q_proj.bias, which SparseLlamaForCausalLM with "
                        "2 layers does not have"));
  EXPECT_FALSE(Validate({.extra = {{"model.layers.2.input_layernorm.weight", {32}}}}).ok());
  EXPECT_TRUE(
      Validate({.extra = {{"model.layers.0.self_attn.rotary_emb.inv_freq", {8}}, {"lm_head.weight", {96, 32}}}}).ok());
}

TEST_F(TensorsTest, FingerprintTellsCheckpointsApart) {
  const auto print = [&](uint64_t seed, DType dtype) {
    EXPECT_TRUE(WriteRandomCheckpoint(directory_, config_, seed, dtype).ok());
    return WeightsFingerprint(*io::Safetensors::OpenDirectory(directory_).value());
  };
  const uint64_t one = print(1, DType::kF32);
  EXPECT_EQ(one, print(1, DType::kF32));
  EXPECT_NE(one, print(2, DType::kF32));
  EXPECT_NE(one, print(1, DType::kBF16));
  // Zeros of another shape: names and data sizes agree, only the header differs.
  const uint64_t shape = WeightsFingerprint(*Write(config_, {.shapes = {{"model.norm.weight", {4, 8}}}}));
  EXPECT_NE(shape, WeightsFingerprint(*Write(config_, {})));
}

TEST_F(TensorsTest, TheDemoModelIsWhole) {
  const std::filesystem::path model = std::filesystem::path(NOSA_SOURCE_DIR) / "models/nosa-21m";
  ModelConfig config = ReadModelConfig(model).value();
  const Status status = ValidateTensors(*io::Safetensors::OpenFile(model / "model.safetensors").value(), &config);
  EXPECT_TRUE(status.ok()) << status.ToString();
  EXPECT_TRUE(config.has_importance);
}

}  // namespace
}  // namespace nosa::schema
