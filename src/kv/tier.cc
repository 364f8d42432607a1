#include "kv/tier.h"

#include <fmt/format.h>

namespace nosa::kv {

#define NOSA_TIER(name, factory) Result<std::unique_ptr<Tier>> factory(const TierOptions& options);
#include "kv/tiers/tiers.def"
#undef NOSA_TIER

namespace {

struct Entry {
  std::string_view name;
  Result<std::unique_ptr<Tier>> (*make)(const TierOptions& options);
};

constexpr Entry kEntries[] = {
#define NOSA_TIER(name, factory) {name, factory},
#include "kv/tiers/tiers.def"
#undef NOSA_TIER
};

}  // namespace

Result<std::unique_ptr<Tier>> MakeTier(std::string_view name, const TierOptions& options) {
  for (const Entry& entry : kEntries) {
    if (entry.name == name) return entry.make(options);
  }
  return InvalidArgument("expected a storage tier ({}), found \"{}\"", fmt::join(TierNames(), ", "), name);
}

std::vector<std::string> TierNames() {
  std::vector<std::string> names;
  for (const Entry& entry : kEntries) names.emplace_back(entry.name);
  return names;
}

}  // namespace nosa::kv
