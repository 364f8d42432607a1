// Dense attention: every block a query may see; no bias. The plain Llama layer.
#include "attention/scoring.h"

namespace nosa::attention {
namespace {

class FullSelector final : public BlockSelector {
 public:
  explicit FullSelector(const AttentionConfig& config) : config_(config) {}
  std::string_view name() const override { return "full"; }
  SelectorTraits traits() const override { return {}; }
  std::optional<ops::SelectionRule> rule() const override { return ops::SelectionRule{.every_block = true}; }

  void Select(const SelectInput& input, Selection* selection) const override {
    for (int r = 0; r < selection->rows(); ++r) {
      const int blocks = VisibleBlocks(config_, input.positions[static_cast<size_t>(r)]);
      for (int g = 0; g < selection->kv_heads(); ++g) {
        SetBits(selection->Mask(r, g), 0, blocks);
      }
    }
  }

 private:
  AttentionConfig config_;
};

}  // namespace

std::unique_ptr<BlockSelector> MakeFullSelector(const AttentionConfig& config) {
  return std::make_unique<FullSelector>(config);
}

}  // namespace nosa::attention
