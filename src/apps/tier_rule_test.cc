#include "apps/tier_rule.h"

#include <gtest/gtest.h>

namespace nosa::apps {
namespace {

constexpr TierInputs Inputs(uint64_t free_ram, uint64_t all_in_ram) {
  return {.free_ram_bytes = free_ram, .all_in_ram_bytes = all_in_ram};
}

TEST(ParseDiskPlaceTest, DirectoryWithAndWithoutSize) {
  EXPECT_EQ(ParseDiskPlace("/a").value(), (DiskPlace{"/a", 0}));
  EXPECT_EQ(ParseDiskPlace("/a:1KiB").value(), (DiskPlace{"/a", 1024}));
  EXPECT_EQ(ParseDiskPlace("a:b:10").value(), (DiskPlace{"a:b", 10}));
  EXPECT_EQ(ParseDiskPlace("a:b").value(), (DiskPlace{"a:b", 0}));
  EXPECT_EQ(ParseDiskPlace("a:1/b").value(), (DiskPlace{"a:1/b", 0}));
  EXPECT_EQ(ParseDiskPlace("a:").value(), (DiskPlace{"a:", 0}));
}

TEST(ParseDiskPlaceTest, WhatIsNeither) {
  for (const char* text : {"", ":1GiB", "a:10XB", "a:0", "a:0MiB", "a:99999999999999999999"}) {
    EXPECT_EQ(ParseDiskPlace(text).status().code(), StatusCode::kInvalidArgument) << text;
  }
}

TEST(ChooseTiersTest, EverythingFits) {
  TierInputs inputs = Inputs(100, 100);
  inputs.temporary_directory = "/tmp";
  const TierChoice choice = ChooseTiers(inputs);
  EXPECT_EQ(choice.host_budget_bytes, 100u);
  EXPECT_EQ(choice.disk, std::nullopt);
  EXPECT_FALSE(choice.spills);
}

TEST(ChooseTiersTest, ItDoesNotFitTheRamThatIsFree) {
  TierInputs inputs = Inputs(99, 100);
  inputs.temporary_directory = "/tmp";
  const TierChoice choice = ChooseTiers(inputs);
  EXPECT_EQ(choice.host_budget_bytes, 99u);
  EXPECT_EQ(choice.disk, DiskPlace{"/tmp"});
  EXPECT_TRUE(choice.spills);
}

TEST(ChooseTiersTest, TheBudgetGivenDecidesNotWhatIsFree) {
  TierInputs inputs = Inputs(1000, 100);
  inputs.temporary_directory = "/tmp";
  inputs.host_budget_bytes = 50;
  EXPECT_TRUE(ChooseTiers(inputs).spills);
  inputs.host_budget_bytes = 5000;
  EXPECT_FALSE(ChooseTiers(inputs).spills);
  EXPECT_EQ(ChooseTiers(inputs).host_budget_bytes, 5000u);
}

TEST(ChooseTiersTest, ADiskThatIsNamedIsUsed) {
  TierInputs inputs = Inputs(1000, 100);
  inputs.disk = DiskPlace{"/d", 7};
  EXPECT_EQ(ChooseTiers(inputs).disk, inputs.disk);
  EXPECT_FALSE(ChooseTiers(inputs).spills);
  inputs.host_budget_bytes = 50;
  EXPECT_EQ(ChooseTiers(inputs).disk, inputs.disk);
  EXPECT_TRUE(ChooseTiers(inputs).spills);
}

}  // namespace
}  // namespace nosa::apps
