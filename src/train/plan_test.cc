#include "train/plan.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace nosa::train {
namespace {

TEST(ParseStage, TakesEveryKey) {
  const auto stage = ParseStage("tokens=1.5M,length=2K,attention=nosa,batch=8,rate=3e-4");
  ASSERT_TRUE(stage.ok()) << stage.status().ToString();
  EXPECT_EQ(stage->tokens, 1500000);
  EXPECT_EQ(stage->length, 2000);
  EXPECT_EQ(stage->attention, "nosa");
  EXPECT_EQ(stage->batch, 8);
  EXPECT_DOUBLE_EQ(stage->rate, 3e-4);
}

TEST(ParseStage, SaysWhatIsWrong) {
  for (const std::string text : {"", "tokens", "tokens=1M", "tokens=-1,length=4", "tokens=1M,length=2.5",
                                 "tokens=1X,length=4", "tokens=nan,length=4", "speed=1", "length=4,tokens=0"}) {
    const auto stage = ParseStage(text);
    EXPECT_FALSE(stage.ok()) << text;
    EXPECT_FALSE(stage.status().message().empty());
  }
}

TEST(Schedule, RowsAndTokensFollowEachOther) {
  TrainPlan plan;
  plan.stages = {{.tokens = 100, .length = 8}, {.tokens = 64, .length = 16, .batch = 2, .rate = 0.5}};
  plan.batch = 4;
  plan.rate = 1;
  plan.warmup = 0.3;
  const Schedule schedule(plan);
  EXPECT_EQ(schedule.steps(), 4 + 2);  // 100 tokens are three whole steps of 32 and a part
  EXPECT_EQ(schedule.tokens(), 4 * 32 + 2 * 32);
  int64_t row = 0, tokens = 0;
  for (int64_t step = 0; step < schedule.steps(); ++step) {
    const Place place = schedule.At(step);
    EXPECT_EQ(place.stage, step < 4 ? 0 : 1);
    EXPECT_EQ(place.first_row, row);
    EXPECT_EQ(place.tokens, tokens);
    row += schedule.BatchOf(place.stage);
    tokens += 32;
  }
  EXPECT_DOUBLE_EQ(schedule.At(0).rate, 0.5);  // one step of warm-up: half of the way, then the top
  EXPECT_DOUBLE_EQ(schedule.At(1).rate, 1.0);
  EXPECT_DOUBLE_EQ(schedule.At(5).rate, 0.5 * plan.last_rate);
}

TEST(CheckSame, NamesTheFirstDifference) {
  TrainPlan plan;
  plan.stages = {{.tokens = 100, .length = 8}};
  const schema::ModelConfig config;
  const io::OrderedJson begun = Decisive(plan, config, 5, 2);
  EXPECT_TRUE(CheckSame(begun, Decisive(plan, config, 5, 2)).ok());
  EXPECT_THAT(std::string(CheckSame(begun, Decisive(plan, config, 6, 2)).message()),
              testing::HasSubstr("another data"));
  plan.clip = 2;
  EXPECT_THAT(std::string(CheckSame(begun, Decisive(plan, config, 5, 2)).message()),
              testing::HasSubstr("another clip: 1.0, found 2.0"));
}

}  // namespace
}  // namespace nosa::train
