#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "schema/tensors.h"
#include "schema/test_configs.h"

namespace nosa::schema {
namespace {

using testing::ErrorWith;
using testing::FullJson;
using ::testing::HasSubstr;
using testing::With;

RopeConfig Parsed(const io::Json& changes) {
  return ParseModelConfig(With(FullJson(), changes), "config.json").value().rope;
}

const io::Json kLlama3 = {{"rope_type", "llama3"},
                          {"factor", 8.0},
                          {"low_freq_factor", 1.0},
                          {"high_freq_factor", 4.0},
                          {"original_max_position_embeddings", 1024}};

TEST(RopeConfig, OlderAndNewerSpellings) {
  EXPECT_EQ(Parsed({{"rope_scaling", nullptr}}).scaling, RopeConfig::Scaling::kNone);
  EXPECT_EQ(Parsed({{"rope_scaling", {{"rope_type", "default"}}}}).scaling, RopeConfig::Scaling::kNone);
  EXPECT_EQ(Parsed({{"rope_scaling", {{"type", "linear"}, {"factor", 2.0}}}}).factor, 2.0);
  const RopeConfig older = Parsed({});
  EXPECT_EQ(older.theta, 500000.0);
  EXPECT_EQ(older.scaling, RopeConfig::Scaling::kLlama3);
  EXPECT_EQ(older.factor, 8.0);
  EXPECT_EQ(older.original_max_position, 1024);
  const RopeConfig newer = Parsed(
      {{"rope_theta", nullptr}, {"rope_scaling", nullptr}, {"rope_parameters", With(kLlama3, {{"rope_theta", 1e6}})}});
  EXPECT_EQ(newer.theta, 1e6);
  EXPECT_EQ(newer.scaling, RopeConfig::Scaling::kLlama3);
}

TEST(RopeConfig, ScalingsThatAreNotImplemented) {
  for (const char* kind : {"yarn", "dynamic", "longrope"}) {
    const Status error = ErrorWith({{"rope_scaling", {{"rope_type", kind}, {"factor", 4.0}}}});
    EXPECT_EQ(error.code(), StatusCode::kUnimplemented);
    EXPECT_EQ(error.message(), fmt::format("config.json: rope_scaling: rope scaling \"{}\" is not implemented, only "
                                           "default, linear and llama3",
                                           kind));
  }
  EXPECT_EQ(
      ErrorWith({{"rope_parameters", {{"partial_rotary_factor", 0.5}}}}).message(),
      "config.json: rope_parameters: partial_rotary_factor is 0.5, only rotation of the whole head is implemented");
}

TEST(RopeConfig, NumbersMustBeSensible) {
  EXPECT_EQ(ErrorWith({{"rope_theta", 0}}).message(),
            "config.json: expected rope_theta from 1 to 1000000000000, found 0");
  EXPECT_THAT(ErrorWith({{"rope_theta", "big"}}).message(), HasSubstr("rope_theta"));
  EXPECT_EQ(ErrorWith({{"rope_scaling", 2}}).message(), "config.json: rope_scaling: expected a JSON object, found 2");
  EXPECT_EQ(ErrorWith({{"rope_scaling", {{"rope_type", "linear"}}}}).message(),
            "config.json: rope_scaling: expected the field factor, found none");
  for (const char* key : {"factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings"}) {
    io::Json scaling = kLlama3;
    scaling[key] = -1;
    EXPECT_THAT(ErrorWith({{"rope_scaling", scaling}}).message(),
                HasSubstr(std::string("rope_scaling: expected ") + key + " from "));
    scaling.erase(key);
    EXPECT_EQ(ErrorWith({{"rope_scaling", scaling}}).message(),
              std::string("config.json: rope_scaling: expected the field ") + key + ", found none");
  }
  EXPECT_EQ(ErrorWith({{"rope_scaling", With(kLlama3, {{"high_freq_factor", 1.0}})}}).message(),
            "config.json: rope_scaling: expected high_freq_factor above low_freq_factor, found 1 and 1");
}

// The formulas of the Llama 3.1 release in double precision, as a second writing of them.
double Expected(const RopeConfig& rope, int pair, int head_dim) {
  const double plain = std::pow(rope.theta, -2.0 * pair / head_dim);
  if (rope.scaling == RopeConfig::Scaling::kNone) return plain;
  if (rope.scaling == RopeConfig::Scaling::kLinear) return plain / rope.factor;
  const double turns = static_cast<double>(rope.original_max_position) * plain / (2.0 * std::numbers::pi);
  const double ramp = (turns - rope.low_freq_factor) / (rope.high_freq_factor - rope.low_freq_factor);
  const double keep = std::min(1.0, std::max(0.0, ramp));
  return plain * (keep + (1.0 - keep) / rope.factor);
}

TEST(RopeFrequencies, MatchTheFormula) {
  for (const io::Json& scaling : {io::Json(nullptr), io::Json{{"type", "linear"}, {"factor", 4.0}}, kLlama3}) {
    const RopeConfig rope = Parsed({{"rope_scaling", scaling}});
    for (const int head_dim : {2, 64, 128}) {
      const std::vector<float> got = RopeInverseFrequencies(rope, head_dim);
      ASSERT_EQ(got.size(), static_cast<size_t>(head_dim / 2));
      for (int i = 0; i < head_dim / 2; ++i) {
        const double want = Expected(rope, i, head_dim);
        // float32 power, quotient and ramp: a handful of roundings, amplified by log(theta) in the power.
        EXPECT_NEAR(got[static_cast<size_t>(i)], want, 4e-6 * want) << scaling << " pair " << i;
      }
    }
  }
}

TEST(RopeFrequencies, Llama3UsesAllThreeBands) {
  const RopeConfig rope = Parsed({{"rope_scaling", kLlama3}});
  int kept = 0, divided = 0, between = 0;
  for (int i = 0; i < 32; ++i) {
    const double ratio = Expected(rope, i, 64) / std::pow(rope.theta, -2.0 * i / 64);
    (ratio == 1.0 ? kept : ratio < 1.0 / 8.0 + 1e-12 ? divided : between) += 1;
  }
  EXPECT_GT(kept, 0);
  EXPECT_GT(divided, 0);
  EXPECT_GT(between, 0);
}

}  // namespace
}  // namespace nosa::schema
