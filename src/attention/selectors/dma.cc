// DMA (arXiv 2508.02124): every free place goes to the blocks of highest learned importance, which also biases the
// logits.
#include "attention/scoring.h"

namespace nosa::attention {
namespace {

class DmaSelector final : public BlockSelector {
 public:
  explicit DmaSelector(const AttentionConfig& config) : config_(config) {}
  std::string_view name() const override { return "dma"; }
  SelectorTraits traits() const override { return {.needs_importance = true, .bias = true}; }
  std::optional<ops::SelectionRule> rule() const override {
    return ops::SelectionRule{
        .init_blocks = config_.init_blocks, .local_blocks = config_.local_blocks, .topk = config_.topk};
  }

  void Select(const SelectInput& input, Selection* selection) const override {
    ForceBlocks(config_, input, selection);
    ScoreBatch batch;
    ForEachRowBatch(config_, input, config_.topk, selection, [&](int begin, int end) {
      ImportanceScores(config_, input, begin, end, selection, &batch);
      FillTopK(input, batch, config_.topk);
    });
  }

 private:
  AttentionConfig config_;
};

}  // namespace

std::unique_ptr<BlockSelector> MakeDmaSelector(const AttentionConfig& config) {
  return std::make_unique<DmaSelector>(config);
}

}  // namespace nosa::attention
