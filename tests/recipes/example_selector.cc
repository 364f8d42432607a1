// Strided attention (Sparse Transformer, arXiv 1904.10509, by blocks): sinks, a window, and the blocks between at equal
// steps, as many as the rest of k allows. It looks at no score, so prefill and decode cost the same; no bias.
#include "attention/scoring.h"

namespace nosa::attention {
namespace {

class StridedSelector final : public BlockSelector {
 public:
  explicit StridedSelector(const AttentionConfig& config) : config_(config) {}
  std::string_view name() const override { return "example-strided"; }
  // Needs no delta and A, adds no importance to the logits: any Llama will do.
  SelectorTraits traits() const override { return {}; }

  void Select(const SelectInput& input, Selection* selection) const override {
    ForceBlocks(config_, input, selection);
    for (int r = 0; r < selection->rows(); ++r) {
      // Blocks [begin, end) are neither sinks nor local.
      const int own = input.positions[static_cast<size_t>(r)] / config_.block_size;
      const int begin = config_.init_blocks, end = own - config_.local_blocks;
      const int free = config_.topk - config_.init_blocks - config_.local_blocks - 1;
      if (end <= begin || free <= 0) continue;
      const int step = (end - begin + free - 1) / free;
      for (int g = 0; g < selection->kv_heads(); ++g) {
        for (int b = begin; b < end; b += step) SetBit(selection->Mask(r, g), b);
      }
    }
  }

 private:
  AttentionConfig config_;
};

}  // namespace

std::unique_ptr<BlockSelector> MakeExampleSelector(const AttentionConfig& config) {
  return std::make_unique<StridedSelector>(config);
}

}  // namespace nosa::attention
