#include "attention/selector.h"

#include <fmt/ranges.h>

namespace nosa::attention {

#define NOSA_SELECTOR(name, factory) std::unique_ptr<BlockSelector> factory(const AttentionConfig& config);
#include "attention/selectors/selectors.def"
#undef NOSA_SELECTOR

Result<std::unique_ptr<BlockSelector>> MakeSelector(std::string_view name, const AttentionConfig& config) {
#define NOSA_SELECTOR(known, factory) \
  if (name == known) return factory(config);
#include "attention/selectors/selectors.def"
#undef NOSA_SELECTOR
  return InvalidArgument("unknown attention \"{}\"; known: {}", name, fmt::join(SelectorNames(), ", "));
}

std::vector<std::string> SelectorNames() {
  return {
#define NOSA_SELECTOR(name, factory) name,
#include "attention/selectors/selectors.def"
#undef NOSA_SELECTOR
  };
}

}  // namespace nosa::attention
