// InfLLM-V2 (arXiv 2509.24663): every free place goes to the blocks the query matches best; no bias.
#include "attention/scoring.h"

namespace nosa::attention {
namespace {

class InfLlm2Selector final : public BlockSelector {
 public:
  explicit InfLlm2Selector(const AttentionConfig& config) : config_(config) {}
  std::string_view name() const override { return "infllm2"; }
  SelectorTraits traits() const override { return {}; }
  std::optional<ops::SelectionRule> rule() const override {
    return ops::SelectionRule{
        .init_blocks = config_.init_blocks, .local_blocks = config_.local_blocks, .query_blocks = config_.topk};
  }

  void Select(const SelectInput& input, Selection* selection) const override {
    ForceBlocks(config_, input, selection);
    ScoreBatch batch;
    ForEachRowBatch(config_, input, config_.topk, selection, [&](int begin, int end) {
      QueryScores(config_, input, begin, end, selection, &batch);
      FillTopK(input, batch, config_.topk);
    });
  }

 private:
  AttentionConfig config_;
};

}  // namespace

std::unique_ptr<BlockSelector> MakeInfLlm2Selector(const AttentionConfig& config) {
  return std::make_unique<InfLlm2Selector>(config);
}

}  // namespace nosa::attention
