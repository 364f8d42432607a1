// Sink + window (StreamingLLM, arXiv 2309.17453, at block granularity): the forced blocks only; no bias.
#include "attention/scoring.h"

namespace nosa::attention {
namespace {

class WindowSelector final : public BlockSelector {
 public:
  explicit WindowSelector(const AttentionConfig& config) : config_(config) {}
  std::string_view name() const override { return "window"; }
  SelectorTraits traits() const override { return {}; }
  std::optional<ops::SelectionRule> rule() const override {
    return ops::SelectionRule{.init_blocks = config_.init_blocks, .local_blocks = config_.local_blocks};
  }

  void Select(const SelectInput& input, Selection* selection) const override { ForceBlocks(config_, input, selection); }

 private:
  AttentionConfig config_;
};

}  // namespace

std::unique_ptr<BlockSelector> MakeWindowSelector(const AttentionConfig& config) {
  return std::make_unique<WindowSelector>(config);
}

}  // namespace nosa::attention
