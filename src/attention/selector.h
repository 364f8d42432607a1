// Which blocks a query reads: the seam where sparse attention methods differ.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "attention/config.h"
#include "attention/selection.h"
#include "base/status.h"
#include "ops/ops.h"
#include "ops/pool_windows.h"
#include "ops/select_blocks.h"
#include "tensor/buffer.h"

namespace nosa::attention {

// What a selector takes from a model and keeps resident.
struct SelectorTraits {
  bool needs_importance = false;  // the checkpoint must have delta and A
  bool bias = false;              // attention adds s to the logits
};

// Memory a selector works in, grown as needed and kept from call to call. Its users' calls do not overlap.
struct SelectScratch {
  Buffer block_scores, window_scores;
};

// The queries of one layer. Rows of one sequence are consecutive positions; a call may hold several sequences.
struct SelectInput {
  ops::Backend* backend = nullptr;
  ops::Stream stream;
  SelectScratch* scratch = nullptr;
  ConstTensorView q;                         // [R, H, D] f32, after RoPE
  std::span<const int32_t> positions;        // [R]
  std::span<const int32_t> state_begin;      // [R] summaries of the row's sequence: states[state_begin[r] + g]
  std::span<const ops::WindowState> states;  // this layer's; windows up to each row's own token are complete
};

// Immutable after construction; scratch is the caller's, so one selector may serve every layer.
class BlockSelector {
 public:
  virtual ~BlockSelector() = default;
  virtual std::string_view name() const = 0;
  virtual SelectorTraits traits() const = 0;
  // Sets the blocks of every row and KV head in `selection`, which is Reset to the rows, KV heads and blocks of the
  // input, its bits in shared memory of the backend, where they are complete once `input.stream` has been waited for.
  // Each row always gets its own block; rows do not influence each other. Forced blocks as docs/nosa.md says.
  virtual void Select(const SelectInput& input, Selection* selection) const = 0;
  // The same as a rule that a device can follow by itself, one query at a time; nullopt when there is none: then every
  // step is planned by the host.
  virtual std::optional<ops::SelectionRule> rule() const { return std::nullopt; }
};

// By the names of selectors.def; kInvalidArgument lists them.
Result<std::unique_ptr<BlockSelector>> MakeSelector(std::string_view name, const AttentionConfig& config);
std::vector<std::string> SelectorNames();

}  // namespace nosa::attention
