#include <gmock/gmock.h>

#include "case_name.h"
#include "codec_conformance.h"

namespace nosa::kv {
namespace {

std::vector<CodecCase> Cases() {
  std::vector<CodecCase> cases;
  for (const std::string& name : CodecNames()) {
    cases.push_back({name, [](const std::string& codec) { return MakeCodec(codec).value(); }});
  }
  return cases;
}

INSTANTIATE_TEST_SUITE_P(Registered, CodecConformance, testing::ValuesIn(Cases()), CaseName<CodecCase>);

TEST(CodecRegistry, AnUnknownNameListsTheKnown) {
  const auto codec = MakeCodec("int7");
  ASSERT_FALSE(codec.ok());
  EXPECT_EQ(codec.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(codec.status().message()), testing::HasSubstr("raw, int8), found \"int7\""));
}

}  // namespace
}  // namespace nosa::kv
