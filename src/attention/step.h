// Attention of one layer for a decode batch, planned on the device: the same mathematics as layer.h, in calls that can
// be recorded once and repeated without the host.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "attention/config.h"
#include "attention/layer.h"
#include "attention/summaries.h"
#include "kv/seat_store.h"
#include "ops/assign_slots.h"
#include "ops/select_blocks.h"

namespace nosa::attention {

struct StepOptions {
  // When blocks that are not in a slot are fetched.
  enum class Schedule : uint8_t {
    kOverlap,  // by the attention itself, beside its work on those that are there
    kInLine,   // before all attention, on the stream that computes
    kNever,    // not at all: what a step would cost if transfers were free. Results are wrong.
  };
  std::string selector = "nosa";  // of selectors.def; needs a rule()
  Schedule schedule = Schedule::kOverlap;
  // Not null: selections are computed, and then replaced by these.
  const ops::SelectionTrace* trace = nullptr;
  int trace_stagger = 0;
};

// For one store and one caller thread.
class StepAttention final : public AttentionLayer {
 public:
  // kFailedPrecondition when the selector has no rule, or needs importance the model lacks; kResourceExhausted as
  // Backend::Allocate.
  static Result<std::unique_ptr<StepAttention>> Create(const AttentionConfig& config, const StepOptions& options,
                                                       kv::SeatStore* store, ops::Backend* backend);
  // Device bytes it takes: summaries and plans.
  static uint64_t DeviceBytes(const AttentionConfig& config, const StepOptions& options, const kv::SeatOptions& seats);
  // Device bytes that its ops ask of the backend in between, at most: weights of windows, partial states.
  static uint64_t ScratchBytes(const AttentionConfig& config, const StepOptions& options, const kv::SeatOptions& seats);

  // Rows are seats; `batch` is not looked at but for its positions, which are the store's.
  Status Run(LayerIdx layer, const AttentionBatch& batch, ConstTensorView q, ConstTensorView k, ConstTensorView v,
             ConstTensorView s, TensorView out) override;
  bool rounds_output() const override { return true; }
  // Before the first layer and after the last one of every step.
  void BeginStep();
  void EndStep();

  // The summaries of a seat, as SummaryLayout lays them out.
  const SummaryLayout& summary_layout() const { return summary_layout_; }
  MutableBytes summaries(int seat) const {
    const size_t bytes = summary_layout_.bytes();
    return {summaries_.data() + static_cast<size_t>(seat) * bytes, bytes};
  }
  // Waits for the steps so far.
  ops::SlotCounters ReadCounters();
  int width() const { return width_; }

 private:
  StepAttention(const AttentionConfig& config, const StepOptions& options, kv::SeatStore* store, ops::Backend* backend)
      : config_(config),
        options_(options),
        store_(store),
        backend_(backend),
        summary_layout_(config, store->options().max_tokens) {}
  Status Init();

  AttentionConfig config_;
  StepOptions options_;
  kv::SeatStore* store_;
  ops::Backend* backend_;
  SummaryLayout summary_layout_;
  SelectorTraits traits_;
  ops::SelectionRule rule_;
  int width_ = 0;
  Buffer summaries_, states_, shared_counters_;
  Buffer ids_, counts_, addresses_, arrivals_, copies_, copy_counts_, counters_;
  Buffer zeros_;
};

}  // namespace nosa::attention
