#include "server/page/cache_json.h"

#include <gmock/gmock.h>

#include <cmath>

#include "base/rng.h"

namespace nosa::server {
namespace {

using testing::ElementsAre;

// Base64 and PackBits by their definitions, bit by bit.
std::vector<uint8_t> Unpack(const std::string& text) {
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::vector<uint8_t> packed, out;
  uint32_t bits = 0;
  int count = 0;
  for (const char c : text) {
    if (c == '=') break;
    bits = bits << 6 | static_cast<uint32_t>(digits.find(c));
    count += 6;
    if (count < 8) continue;
    count -= 8;
    packed.push_back(static_cast<uint8_t>(bits >> count));
  }
  for (size_t i = 0; i < packed.size();) {
    const size_t n = packed[i++];
    if (n < 128) {
      for (size_t k = 0; k <= n; ++k) out.push_back(packed.at(i++));
    } else if (n > 128) {
      out.insert(out.end(), 257 - n, packed.at(i++));
    }
  }
  return out;
}

TEST(PackValuesTest, UnpacksToTheSameAndIsShort) {
  const Philox rng(3, 0);
  for (const int length : {0, 1, 2, 3, 127, 128, 129, 255, 256, 257, 1000, 16384}) {
    for (const uint32_t kinds : {1u, 2u, 3u, 256u}) {
      std::vector<uint8_t> values;
      for (int i = 0; i < length; ++i)
        values.push_back(static_cast<uint8_t>(rng.Block(static_cast<uint64_t>(i))[0] % kinds));
      const std::string text = PackValues(values);
      EXPECT_EQ(Unpack(text), values) << length << " values of " << kinds << " kinds";
      const size_t packed = values.size() + (values.size() + 127) / 128;
      EXPECT_LE(text.size(), (packed + 2) / 3 * 4);
    }
  }
  EXPECT_LE(PackValues(std::vector<uint8_t>(16384, 7)).size(), 350u);
}

TEST(AgeCodeTest, KeepsOrderAndIsCloseToTheSteps) {
  EXPECT_EQ(AgeCode(0), 0);
  EXPECT_EQ(AgeCode(UINT32_MAX), 255);
  uint8_t last = 0;
  for (uint32_t steps = 1; steps < 3'000'000; steps += 1 + steps / 50) {
    const uint8_t code = AgeCode(steps);
    EXPECT_GE(code, last) << steps;
    last = code;
    const double back = std::round(std::pow(2.0, (code - 1) / 8.0));
    if (steps <= 12) {
      EXPECT_EQ(back, steps);
    }
    EXPECT_NEAR(back, steps, 0.05 * steps + 0.5) << steps;  // half a step from rounding it
  }
  EXPECT_LT(last, 255);
}

engine::CacheMap SomeMap(int blocks, int layers, int kv_heads) {
  engine::CacheMap map;
  map.answer_id = 42;
  map.block_size = 64;
  map.layers = layers;
  map.kv_heads = kv_heads;
  map.blocks.resize(static_cast<size_t>(blocks));
  map.tokens = 64 * blocks - 1;
  if (blocks > 0) map.blocks.back().tail = true;
  return map;
}

TEST(CacheMapJsonTest, HoldsEveryBlock) {
  engine::CacheMap map = SomeMap(4, 3, 2);
  map.blocks[0] = {.fast_lanes = 6, .selected = 6, .last_step = 0, .shared = true};
  map.blocks[1] = {.fast_lanes = 2, .selected = 0, .last_step = 3};
  map.blocks[3].fast_lanes = 6;
  const io::OrderedJson json = CacheMapJson(map);
  EXPECT_EQ(json["id"], 42);
  EXPECT_EQ(json["tokens"], 255);
  EXPECT_EQ(json["blocks"], 4);
  EXPECT_EQ(json["levels"], 6);
  EXPECT_EQ(json["tail"], true);
  EXPECT_THAT(Unpack(json["fast"]), ElementsAre(6, 2, 0, 6));
  EXPECT_THAT(Unpack(json["selected"]), ElementsAre(6, 0, 0, 0));
  EXPECT_THAT(Unpack(json["age"]), ElementsAre(0, AgeCode(3), 255, 255));
  EXPECT_THAT(Unpack(json["shared"]), ElementsAre(1, 0, 0, 0));
}

TEST(CacheMapJsonTest, ManyLanesBecomeLevelsAndOnlyNoneAndAllAreTheEnds) {
  engine::CacheMap map = SomeMap(5, 32, 32);
  const std::vector<uint16_t> lanes = {0, 1, 512, 1023, 1024};
  for (size_t i = 0; i < lanes.size(); ++i) map.blocks[i].fast_lanes = lanes[i];
  const io::OrderedJson json = CacheMapJson(map);
  EXPECT_EQ(json["levels"], 255);
  EXPECT_THAT(Unpack(json["fast"]), ElementsAre(0, 1, 127, 254, 255));
}

TEST(CacheMapJsonTest, StaysSmallForAMillionTokens) {
  engine::CacheMap map = SomeMap(1'000'000 / 64, 32, 8);
  const Philox rng(5, 0);
  for (size_t i = 0; i < map.blocks.size(); ++i) {
    const auto draw = rng.Block(i);
    map.blocks[i].fast_lanes = static_cast<uint16_t>(draw[0] % 257);
    map.blocks[i].selected = draw[1] % 257;
    map.blocks[i].last_step = draw[2] % 100'000;
  }
  EXPECT_LT(io::DumpJson(CacheMapJson(map)).size(), size_t{66} << 10);
}

TEST(CacheMapJsonTest, AFreshRequestHasNone) {
  const io::OrderedJson json = CacheMapJson(SomeMap(0, 2, 1));
  EXPECT_EQ(json["blocks"], 0);
  EXPECT_EQ(json["tail"], false);
  EXPECT_EQ(json["fast"], "");
}

TEST(StatusJsonTest, SaysWhatTheServiceSays) {
  engine::ServiceStats stats;
  stats.queued = 3;
  stats.host_used_bytes = 5;
  stats.host_budget_bytes = UINT64_MAX;
  stats.engine.kv.lookups = 10;
  stats.engine.kv.hits = 7;
  engine::AnswerInfo answer;
  answer.id = 9;
  answer.phase = engine::AnswerPhase::kReading;
  answer.prompt_tokens = 100;
  answer.prompt_done = 64;
  io::OrderedJson json = StatusJson("small", stats, {&answer, 1});
  EXPECT_EQ(json["model"], "small");
  EXPECT_EQ(json["queued"], 3);
  EXPECT_EQ(json["kv"]["host"]["lookups"], 10);
  EXPECT_EQ(json["kv"]["host"]["hits"], 7);
  EXPECT_TRUE(json["kv"]["seats"].is_null());
  ASSERT_EQ(json["tiers"].size(), 1u);
  EXPECT_EQ(json["tiers"][0]["name"], "RAM");
  EXPECT_TRUE(json["tiers"][0]["budget_bytes"].is_null());
  ASSERT_EQ(json["answers"].size(), 1u);
  EXPECT_EQ(json["answers"][0]["id"], 9);
  EXPECT_EQ(json["answers"][0]["phase"], "reading");
  EXPECT_EQ(json["answers"][0]["prompt_done"], 64);

  stats.cold_budget_bytes = 1000;
  stats.cold_bytes = 10;
  stats.engine.seating.seats = 2;
  stats.engine.seating.counters.selected = 20;
  stats.engine.seating.counters.missing = 5;
  stats.engine.seating.bytes_fetched = 500;
  stats.engine.kv.blocks_fetched = 2;
  stats.engine.kv.bytes_fetched = 200;
  json = StatusJson("small", stats, {});
  ASSERT_EQ(json["tiers"].size(), 3u);
  EXPECT_EQ(json["tiers"][0]["name"], "GPU");
  EXPECT_EQ(json["tiers"][2]["used_bytes"], 10);
  // Two shares of two things: blocks that the host looked up in RAM, and those that steps on a device read from slots.
  EXPECT_EQ(json["kv"]["host"]["lookups"], 10);
  EXPECT_EQ(json["kv"]["host"]["hits"], 7);
  EXPECT_EQ(json["kv"]["host"]["blocks_fetched"], 2);
  EXPECT_EQ(json["kv"]["host"]["bytes_fetched"], 200);
  EXPECT_EQ(json["kv"]["seats"]["lookups"], 20);
  EXPECT_EQ(json["kv"]["seats"]["hits"], 15);
  EXPECT_EQ(json["kv"]["seats"]["blocks_fetched"], 5);
  EXPECT_EQ(json["kv"]["seats"]["bytes_fetched"], 500);
}

}  // namespace
}  // namespace nosa::server
