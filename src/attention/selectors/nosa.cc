// NOSA (arXiv 2510.13602): a query-aware part, the rest by the learned, query-agnostic importance.
#include "attention/scoring.h"

namespace nosa::attention {
namespace {

class NosaSelector final : public BlockSelector {
 public:
  explicit NosaSelector(const AttentionConfig& config) : config_(config) {}
  std::string_view name() const override { return "nosa"; }
  SelectorTraits traits() const override { return {.needs_importance = true, .bias = true}; }
  std::optional<ops::SelectionRule> rule() const override {
    return ops::SelectionRule{.init_blocks = config_.init_blocks,
                              .local_blocks = config_.local_blocks,
                              .query_blocks = config_.query_blocks(),
                              .topk = config_.topk};
  }

  void Select(const SelectInput& input, Selection* selection) const override {
    ForceBlocks(config_, input, selection);
    ScoreBatch batch;
    ForEachRowBatch(config_, input, config_.topk, selection, [&](int begin, int end) {
      QueryScores(config_, input, begin, end, selection, &batch);
      FillTopK(input, batch, config_.query_blocks());
      ImportanceScores(config_, input, begin, end, selection, &batch);
      FillTopK(input, batch, config_.topk);
    });
  }

 private:
  AttentionConfig config_;
};

}  // namespace

std::unique_ptr<BlockSelector> MakeNosaSelector(const AttentionConfig& config) {
  return std::make_unique<NosaSelector>(config);
}

}  // namespace nosa::attention
