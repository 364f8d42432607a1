#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "schema/model_config.h"
#include "schema/test_configs.h"

namespace nosa::schema {
namespace {

using ::testing::AllOf;
using testing::FullJson;
using ::testing::HasSubstr;
using ::testing::StartsWith;

Status ErrorOf(const io::Json& changes) {
  io::Json json = FullJson();
  json["sparse_config"].update(changes);
  return ParseModelConfig(json, "config.json").status();
}

TEST(SparseConfig, DefaultsAreThePublishedModels) {
  const SparseConfig sparse;
  EXPECT_TRUE(sparse.Validate().ok());
  EXPECT_EQ(sparse.local_blocks(), 16);
  EXPECT_EQ(sparse.windows_per_block(), 4);
  EXPECT_EQ(sparse.query_blocks(), 33);
}

TEST(SparseConfig, WhatIsNotSaidKeepsItsDefault) {
  io::Json json = FullJson();
  json["sparse_config"] = {{"topk", 40}};
  const SparseConfig sparse = ParseModelConfig(json, "config.json").value().sparse;
  EXPECT_EQ(sparse.topk, 40);
  EXPECT_EQ(sparse.query_topk, 16);
  EXPECT_EQ(sparse.window_size, 1024);
}

TEST(SparseConfig, NumbersMustBeSensible) {
  for (const std::string key :
       {"block_size", "kernel_size", "kernel_stride", "init_blocks", "window_size", "topk", "query_topk"}) {
    for (const int64_t bad : {int64_t{0}, int64_t{-1}, INT64_MAX}) {
      EXPECT_THAT(ErrorOf({{key, bad}}).message(),
                  AllOf(StartsWith("config.json: sparse_config: expected " + key + " from 1 to "),
                        HasSubstr(", found " + std::to_string(bad))));
    }
    EXPECT_THAT(ErrorOf({{key, 1.5}}).message(), AllOf(StartsWith("config.json: sparse_config: "), HasSubstr(key)));
  }
}

TEST(SparseConfig, NumbersMustFitTogether) {
  const std::string at = "config.json: sparse_config: expected ";
  EXPECT_EQ(ErrorOf({{"kernel_size", 10}}).message(), at + "kernel_size a multiple of kernel_stride, found 10 and 4");
  EXPECT_EQ(ErrorOf({{"block_size", 18}, {"window_size", 36}}).message(),
            at + "block_size a multiple of kernel_stride, found 18 and 4");
  EXPECT_EQ(ErrorOf({{"window_size", 40}}).message(), at + "window_size a multiple of block_size, found 40 and 16");
  EXPECT_EQ(ErrorOf({{"window_size", 8}}).message(), at + "window_size a multiple of block_size, found 8 and 16");
  EXPECT_TRUE(ErrorOf({{"topk", 5}}).ok());
  EXPECT_EQ(ErrorOf({{"topk", 4}}).message(),
            at + "topk at least 5 (init_blocks 1 + local blocks 2 + query_topk 2), found 4");
}

TEST(SparseConfig, ValidateNamesWhatIsNotPositive) {
  int SparseConfig::*const fields[] = {
      &SparseConfig::block_size,  &SparseConfig::kernel_size, &SparseConfig::kernel_stride, &SparseConfig::init_blocks,
      &SparseConfig::window_size, &SparseConfig::topk,        &SparseConfig::query_topk};
  const char* const names[] = {"block_size",  "kernel_size", "kernel_stride", "init_blocks",
                               "window_size", "topk",        "query_topk"};
  for (size_t i = 0; i < std::size(fields); ++i) {
    SparseConfig sparse;
    sparse.*fields[i] = 0;
    EXPECT_EQ(sparse.Validate().message(), std::string("expected ") + names[i] + " above 0, found 0");
  }
  SparseConfig huge;
  huge.query_topk = INT32_MAX;  // a flag may set it: the sum must not wrap round
  EXPECT_FALSE(huge.Validate().ok());
}

TEST(SparseConfig, KeysWithoutRopeAreNotImplemented) {
  EXPECT_EQ(ErrorOf({{"use_nope", true}}).code(), StatusCode::kUnimplemented);
  EXPECT_EQ(ErrorOf({{"use_nope", true}}).message(),
            "config.json: sparse_config: use_nope is true, scores of keys without RoPE are not implemented");
  io::Json json = FullJson();
  json["sparse_config"] = 3;
  EXPECT_EQ(ParseModelConfig(json, "config.json").status().message(),
            "config.json: sparse_config: expected a JSON object, found 3");
}

}  // namespace
}  // namespace nosa::schema
