// The examples of docs/recipes, registered by the .def lines that the recipes show and held to the suites of their
// families. Two things differ from a real part: the folder, and the list being ours.
#include "../conformance/kv/case_name.h"
#include "../conformance/kv/codec_conformance.h"
#include "../conformance/kv/policy_conformance.h"
#include "../conformance/kv/tier_conformance.h"

namespace nosa::kv {

#define NOSA_CODEC(name, factory) std::unique_ptr<KvCodec> factory();
#include "codecs.def"
#undef NOSA_CODEC
#define NOSA_POLICY(name, factory) std::unique_ptr<EvictionPolicy> factory();
#include "policies.def"
#undef NOSA_POLICY
#define NOSA_TIER(name, factory) Result<std::unique_ptr<Tier>> factory(const TierOptions& options);
#include "tiers.def"
#undef NOSA_TIER

namespace {

const CodecCase kCodecs[] = {
#define NOSA_CODEC(name, factory) {name, [](const std::string&) { return factory(); }},
#include "codecs.def"
#undef NOSA_CODEC
};
const PolicyCase kPolicies[] = {
#define NOSA_POLICY(name, factory) {name, [](const std::string&) { return factory(); }},
#include "policies.def"
#undef NOSA_POLICY
};
const TierCase kTiers[] = {
#define NOSA_TIER(name, factory) \
  {name, name, [](std::string_view, const TierOptions& options) { return factory(options); }},
#include "tiers.def"
#undef NOSA_TIER
};

INSTANTIATE_TEST_SUITE_P(Recipe, CodecConformance, testing::ValuesIn(kCodecs), CaseName<CodecCase>);
INSTANTIATE_TEST_SUITE_P(Recipe, PolicyConformance, testing::ValuesIn(kPolicies), CaseName<PolicyCase>);
INSTANTIATE_TEST_SUITE_P(Recipe, TierConformance, testing::ValuesIn(kTiers), CaseName<TierCase>);

}  // namespace
}  // namespace nosa::kv
