#include <gmock/gmock.h>

#include "case_name.h"
#include "policy_conformance.h"

namespace nosa::kv {
namespace {

std::vector<PolicyCase> Cases() {
  std::vector<PolicyCase> cases;
  for (const std::string& name : PolicyNames()) {
    cases.push_back({name, [](const std::string& policy) { return MakePolicy(policy).value(); }});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Registered, PolicyConformance, testing::ValuesIn(Cases()), CaseName<PolicyCase>);

TEST(PolicyRegistry, AnUnknownNameListsTheKnown) {
  const auto policy = MakePolicy("fifo");
  ASSERT_FALSE(policy.ok());
  EXPECT_EQ(policy.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(policy.status().message()), testing::HasSubstr("importance-lru, lru), found \"fifo\""));
}

}  // namespace
}  // namespace nosa::kv
