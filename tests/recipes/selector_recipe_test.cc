// The example of docs/recipes/add-a-selector.md, registered by the line that the recipe shows and held to the suite of
// its family. Two things differ from a real part: the folder, and the list being ours.
#include "../conformance/attention/selector_conformance.h"

namespace nosa::attention {

#define NOSA_SELECTOR(name, factory) std::unique_ptr<BlockSelector> factory(const AttentionConfig& config);
#include "selectors.def"
#undef NOSA_SELECTOR

namespace {

const SelectorCase kSelectors[] = {
#define NOSA_SELECTOR(name, factory) \
  {name, [](const std::string&, const AttentionConfig& config) { return factory(config); }},
#include "selectors.def"
#undef NOSA_SELECTOR
};

INSTANTIATE_TEST_SUITE_P(Recipe, SelectorConformance, testing::ValuesIn(kSelectors), SelectorCaseName);

}  // namespace
}  // namespace nosa::attention
