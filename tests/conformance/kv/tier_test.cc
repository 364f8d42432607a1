#include <gmock/gmock.h>

#include "case_name.h"
#include "faulty_tier.h"
#include "tier_conformance.h"

namespace nosa::kv {
namespace {

// What a harmless plan leaves: late completions in any order. Held to the same contract, so that tests behind it find
// faults of the store and not of the decorator.
Result<std::unique_ptr<Tier>> MakeSlow(std::string_view tier, const TierOptions& options) {
  NOSA_ASSIGN_OR_RETURN(std::unique_ptr<Tier> inner, MakeTier(tier, options));
  return std::unique_ptr<Tier>(std::make_unique<FaultyTier>(std::move(inner), 1, FaultPlan{.delay = 0.5}));
}

std::vector<TierCase> Cases() {
  std::vector<TierCase> cases;
  for (const std::string& tier : TierNames()) {
    cases.push_back({.name = tier, .tier = tier, .make = MakeTier});
    cases.push_back({.name = tier + "-cached", .tier = tier, .make = MakeTier, .direct_io = false});
    cases.push_back({.name = tier + "-threads", .tier = tier, .make = MakeTier, .backend = io::AsyncBackend::kThreads});
    cases.push_back({.name = tier + "-slow", .tier = tier, .make = MakeSlow});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Registered, TierConformance, testing::ValuesIn(Cases()), CaseName<TierCase>);

TEST(TierRegistry, AnUnknownNameListsTheKnown) {
  const auto tier = MakeTier("tape", {});
  ASSERT_FALSE(tier.ok());
  EXPECT_EQ(tier.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(tier.status().message()), testing::HasSubstr("disk, memory), found \"tape\""));
}

}  // namespace
}  // namespace nosa::kv
