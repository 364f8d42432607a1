#include "kv/policy.h"

#include <fmt/format.h>

namespace nosa::kv {

#define NOSA_POLICY(name, factory) std::unique_ptr<EvictionPolicy> factory();
#include "kv/policies/policies.def"
#undef NOSA_POLICY

namespace {

struct Entry {
  std::string_view name;
  std::unique_ptr<EvictionPolicy> (*make)();
};

constexpr Entry kEntries[] = {
#define NOSA_POLICY(name, factory) {name, factory},
#include "kv/policies/policies.def"
#undef NOSA_POLICY
};

}  // namespace

Result<std::unique_ptr<EvictionPolicy>> MakePolicy(std::string_view name) {
  for (const Entry& entry : kEntries) {
    if (entry.name == name) return entry.make();
  }
  return InvalidArgument("expected an eviction policy ({}), found \"{}\"", fmt::join(PolicyNames(), ", "), name);
}

std::vector<std::string> PolicyNames() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) names.emplace_back(entry.name);
  return names;
}

}  // namespace nosa::kv
