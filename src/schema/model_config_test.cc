#include "schema/model_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "schema/test_configs.h"

namespace nosa::schema {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using testing::ErrorWith;
using testing::FullJson;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::StartsWith;
using testing::With;

TEST(ModelConfig, ReadsEveryField) {
  const ModelConfig config = ParseModelConfig(FullJson(), "config.json").value();
  EXPECT_EQ(config.family, "llama");
  EXPECT_EQ(config.architecture, "SparseLlamaForCausalLM");
  EXPECT_EQ(config.num_layers, 2);
  EXPECT_EQ(config.hidden_size, 32);
  EXPECT_EQ(config.num_heads, 4);
  EXPECT_EQ(config.num_kv_heads, 2);
  EXPECT_EQ(config.group_size(), 2);
  EXPECT_EQ(config.head_dim, 16);
  EXPECT_EQ(config.intermediate_size, 48);
  EXPECT_EQ(config.vocab_size, 96);
  EXPECT_EQ(config.max_position, 4096);
  EXPECT_EQ(config.rms_norm_eps, 1e-5);
  EXPECT_TRUE(config.tie_embeddings);
  EXPECT_FALSE(config.has_importance);
  EXPECT_TRUE(config.sparse_config_given);
  EXPECT_EQ(config.dtype, DType::kBF16);
  EXPECT_EQ(config.bos_token, 0);
  EXPECT_THAT(config.eos_tokens, ElementsAre(1, 3));
}

TEST(ModelConfig, WhatAFileNeedNotSay) {
  io::Json json = FullJson();
  for (const char* key : {"num_key_value_heads", "head_dim", "max_position_embeddings", "rms_norm_eps", "rope_theta",
                          "tie_word_embeddings", "attention_bias", "mlp_bias", "torch_dtype", "bos_token_id",
                          "eos_token_id", "rope_scaling", "sparse_config", "hidden_act", "model_type"}) {
    json.erase(key);
  }
  const ModelConfig config = ParseModelConfig(json, "config.json").value();
  EXPECT_EQ(config.num_kv_heads, 4);
  EXPECT_EQ(config.head_dim, 8);
  EXPECT_EQ(config.max_position, 2048);
  EXPECT_EQ(config.rms_norm_eps, 1e-6);
  EXPECT_FALSE(config.tie_embeddings);
  EXPECT_FALSE(config.sparse_config_given);
  EXPECT_EQ(config.sparse.topk, 64);
  EXPECT_EQ(config.dtype, DType::kF32);
  EXPECT_EQ(config.bos_token, -1);
  EXPECT_THAT(config.eos_tokens, IsEmpty());
  EXPECT_EQ(config.rope.theta, 10000.0);
}

TEST(ModelConfig, KnownArchitectures) {
  for (const char* name : {"LlamaForCausalLM", "SparseLlamaForCausalLM", "MistralForCausalLM"}) {
    const auto config = ParseModelConfig(With(FullJson(), {{"architectures", {name}}}), "config.json");
    ASSERT_TRUE(config.ok()) << config.status().ToString();
    EXPECT_EQ(config->family, "llama");
    EXPECT_EQ(config->architecture, name);
  }
  EXPECT_TRUE(ErrorWith({{"sliding_window", nullptr}}).ok());
}

TEST(ModelConfig, UnknownArchitectureListsTheKnownOnes) {
  for (const io::Json& value :
       {io::Json::array({"MiniCPMForCausalLM"}), io::Json("LlamaForCausalLM"), io::Json(7), io::Json(nullptr),
        io::Json::array(), io::Json::array({1}), io::Json::array({"LlamaForCausalLM", "Other"})}) {
    const Status error = ErrorWith({{"architectures", value}});
    EXPECT_EQ(error.code(), StatusCode::kInvalidArgument);
    EXPECT_EQ(error.message(),
              "config.json: expected architectures to name one of LlamaForCausalLM, "
              "SparseLlamaForCausalLM, MistralForCausalLM, found " +
                  value.dump());
  }
}

TEST(ModelConfig, OneEosTokenOrAList) {
  EXPECT_THAT(ParseModelConfig(With(FullJson(), {{"eos_token_id", 95}}), "c").value().eos_tokens, ElementsAre(95));
  EXPECT_THAT(ParseModelConfig(With(FullJson(), {{"eos_token_id", io::Json::array()}}), "c").value().eos_tokens,
              IsEmpty());
  EXPECT_EQ(ErrorWith({{"eos_token_id", 96}}).message(), "config.json: expected eos_token_id from 0 to 95, found 96");
  EXPECT_EQ(ErrorWith({{"eos_token_id", {1, -1}}}).message(),
            "config.json: expected eos_token_id from 0 to 95, found -1");
  EXPECT_EQ(ErrorWith({{"eos_token_id", UINT64_MAX}}).message(),
            "config.json: expected eos_token_id from 0 to 95, found 18446744073709551615");
  EXPECT_EQ(ErrorWith({{"eos_token_id", 1.5}}).message(), "config.json: expected eos_token_id from 0 to 95, found 1.5");
  EXPECT_EQ(ErrorWith({{"eos_token_id", "x"}}).message(),
            "config.json: expected eos_token_id from 0 to 95, found \"x\"");
  EXPECT_EQ(ErrorWith({{"bos_token_id", {0}}}).message(), "config.json: expected bos_token_id from 0 to 95, found [0]");
  EXPECT_EQ(ErrorWith({{"eos_token_id", std::vector<int>(65, 1)}}).message(),
            "config.json: expected at most 64 ids in eos_token_id, found 65");
}

TEST(ModelConfig, SizesMustBeThere) {
  for (const std::string key :
       {"num_hidden_layers", "hidden_size", "num_attention_heads", "intermediate_size", "vocab_size"}) {
    const std::string expected = "config.json: expected the field " + key + ", found none";
    io::Json json = FullJson();
    json[key] = nullptr;
    EXPECT_EQ(ParseModelConfig(json, "config.json").status().message(), expected);
    json.erase(key);
    EXPECT_EQ(ParseModelConfig(json, "config.json").status().message(), expected);
  }
}

TEST(ModelConfig, SizesMustBeSensible) {
  for (const std::string key : {"num_hidden_layers", "hidden_size", "num_attention_heads", "num_key_value_heads",
                                "head_dim", "intermediate_size", "vocab_size", "max_position_embeddings"}) {
    for (const int64_t bad : {int64_t{0}, int64_t{-3}, INT64_MIN, int64_t{1} << 31, INT64_MAX}) {
      const Status error = ErrorWith({{key, bad}});
      EXPECT_EQ(error.code(), StatusCode::kInvalidArgument) << key << " " << bad;
      EXPECT_THAT(error.message(), AllOf(StartsWith("config.json: expected " + key + " from 1 to "),
                                         HasSubstr(", found " + std::to_string(bad))));
    }
    for (const io::Json& bad :
         {io::Json(2.5), io::Json("32"), io::Json(true), io::Json::array({32}), io::Json(1e300)}) {
      const Status error = ErrorWith({{key, bad}});
      EXPECT_EQ(error.code(), StatusCode::kInvalidArgument) << key << " " << bad;
      EXPECT_THAT(error.message(), AllOf(StartsWith("config.json: "), HasSubstr(key)));
    }
  }
}

TEST(ModelConfig, TheLargestSizesDoNotOverflow) {
  io::Json json = FullJson();
  json.update({{"num_hidden_layers", 1 << 10},
               {"hidden_size", 1 << 17},
               {"num_attention_heads", 1 << 12},
               {"num_key_value_heads", 1 << 12},
               {"head_dim", 1 << 11},
               {"intermediate_size", 1 << 20},
               {"vocab_size", 1 << 24}});
  const ModelConfig config = ParseModelConfig(json, "config.json").value();
  EXPECT_EQ(int64_t{config.num_heads} * config.head_dim, int64_t{1} << 23);
}

TEST(ModelConfig, HeadsMustFit) {
  EXPECT_EQ(ErrorWith({{"num_key_value_heads", 3}}).message(),
            "config.json: expected num_attention_heads a multiple of num_key_value_heads, found 4 and 3");
  EXPECT_EQ(ErrorWith({{"head_dim", 15}}).message(),
            "config.json: expected an even head_dim, as RoPE rotates pairs, found 15");
  EXPECT_EQ(ErrorWith({{"head_dim", nullptr}, {"hidden_size", 30}}).message(),
            "config.json: expected head_dim, or hidden_size a multiple of num_attention_heads, found 30 and 4");
  EXPECT_TRUE(ErrorWith({{"hidden_size", 30}}).ok());  // head_dim is given
}

TEST(ModelConfig, VariantsThatWouldChangeTheFunction) {
  EXPECT_EQ(ErrorWith({{"hidden_act", "gelu"}}).message(), "config.json: expected hidden_act silu, found \"gelu\"");
  EXPECT_EQ(ErrorWith({{"hidden_act", "gelu"}}).code(), StatusCode::kInvalidArgument);
  for (const std::string key : {"attention_bias", "mlp_bias"}) {
    const Status error = ErrorWith({{key, true}});
    EXPECT_EQ(error.code(), StatusCode::kUnimplemented);
    EXPECT_EQ(error.message(), "config.json: " + key + " is true, projections with a bias are not implemented");
    EXPECT_THAT(ErrorWith({{key, 1}}).message(), HasSubstr(key));
  }
  const Status sliding = ErrorWith({{"architectures", {"MistralForCausalLM"}}, {"sliding_window", 4096}});
  EXPECT_EQ(sliding.code(), StatusCode::kUnimplemented);
  EXPECT_EQ(sliding.message(), "config.json: sliding_window is 4096, only null is implemented");
  EXPECT_EQ(ErrorWith({{"quantization_config", {{"bits", 4}}}}).message(),
            "config.json: quantization_config is {\"bits\":4}, only null is implemented");
}

TEST(ModelConfig, OtherFields) {
  for (const io::Json& bad : {io::Json(0.0), io::Json(-1e-5), io::Json(2.0), io::Json("small")}) {
    EXPECT_THAT(ErrorWith({{"rms_norm_eps", bad}}).message(), HasSubstr("rms_norm_eps"));
  }
  EXPECT_THAT(ErrorWith({{"tie_word_embeddings", "yes"}}).message(), HasSubstr("tie_word_embeddings"));
  EXPECT_EQ(ErrorWith({{"torch_dtype", "int8"}}).message(),
            "config.json: expected torch_dtype float32, bfloat16 or float16, found \"int8\"");
  EXPECT_EQ(ParseModelConfig(With(FullJson(), {{"dtype", "float16"}}), "c").value().dtype, DType::kF16);
}

TEST(ModelConfig, NotAnObject) {
  for (const io::Json& json : {io::Json(nullptr), io::Json(3), io::Json::array({1, 2})}) {
    EXPECT_EQ(ParseModelConfig(json, "config.json").status().message(),
              "config.json: expected a JSON object, found " + json.dump());
  }
  EXPECT_EQ(ParseModelConfig(std::vector<int>(1000, 1), "x").status().message(),
            "x: expected a JSON object, found a long list");
}

TEST(ModelConfig, ReadsTheDemoModel) {
  const auto config = ReadModelConfig(std::filesystem::path(NOSA_SOURCE_DIR) / "models/nosa-21m");
  ASSERT_TRUE(config.ok()) << config.status().ToString();
  EXPECT_EQ(config->num_layers, 8);
  EXPECT_EQ(config->head_dim, 64);
  EXPECT_EQ(config->sparse.local_blocks(), 4);
  EXPECT_EQ(config->sparse.query_blocks(), 13);
  EXPECT_FALSE(ReadModelConfig("no/such/directory").ok());
}

}  // namespace
}  // namespace nosa::schema
