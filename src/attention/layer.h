// Attention of one layer over cached blocks: store, summarise, select, fetch, attend.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "attention/config.h"
#include "attention/demand.h"
#include "attention/selector.h"
#include "kv/fetch.h"
#include "kv/store.h"
#include "ops/backend.h"

namespace nosa::attention {

struct AttentionOptions {
  std::string selector = "nosa";  // a name of selectors.def
  // Prefill chunks read every block (with the selector's bias); decode selects. False: both select.
  bool dense_prefill = false;
};

// Share of a query's blocks that the query before it read too, summed over queries with more blocks than it reads.
struct LocalityStats {
  double shared = 0;    // sum of |now and before| / |now|
  int64_t queries = 0;  // (token, layer, KV head) counted
  double mean() const { return queries == 0 ? 1.0 : shared / static_cast<double>(queries); }
};

// The selections of one forward call, kept for a caller who asks: by layer.
struct SelectionRecord {
  std::vector<Selection> layers;
};

// The rows of one forward call, the same for every layer.
struct AttentionBatch {
  std::span<const Segment> segments;   // each sequence has had BeginAppend for its rows
  std::span<const int32_t> positions;  // [R]
  bool prefill = false;                // a prompt chunk, not a decode step
  SelectionRecord* record = nullptr;   // filled when not null
  bool fixed_rows = false;             // every step has this many rows: bits may depend on their number
};

// Per-sequence memory of the last selection, for locality. Empty until the first row.
struct SequenceTrace {
  std::vector<std::vector<uint64_t>> last;  // by lane: the blocks of the last row
  LocalityStats decode;                     // of this sequence's steps, since the trace was forgotten
};

// Where a layer's attention is computed: the host plans it block by block (AttentionRunner), or the device does
// (StepAttention).
class AttentionLayer {
 public:
  virtual ~AttentionLayer() = default;
  // q [R, H, D] and k [R, G, D] after RoPE, v [R, G, D], s [R, G] (empty without importance), all f32, the rows of
  // `batch`. Caches k, v and s, extends the summaries, and out [R, H, D] = attention over the selected blocks, f32 or,
  // where rounds_output() says so, bf16.
  virtual Status Run(LayerIdx layer, const AttentionBatch& batch, ConstTensorView q, ConstTensorView k,
                     ConstTensorView v, ConstTensorView s, TensorView out) = 0;
  // Whether `out` may be bf16: each element rounded once.
  virtual bool rounds_output() const { return false; }
};

// For one store and one caller thread. Immutable but for scratch and counters.
class AttentionRunner final : public AttentionLayer {
 public:
  // kFailedPrecondition when the selector needs importance weights the model does not have.
  static Result<std::unique_ptr<AttentionRunner>> Create(const AttentionConfig& config, const AttentionOptions& options,
                                                         kv::KvStore* store, ops::Backend* backend);

  const AttentionConfig& config() const { return config_; }
  const SelectorTraits& traits() const { return traits_; }

  // q [R, H, D] and k [R, G, D] after RoPE, v [R, G, D], s [R, G] (empty without importance), all f32. Writes k, v, s
  // into the sequences' open blocks, extends their summaries, and out [R, H, D] = attention over the selected blocks.
  // All tensors in compute memory of the backend; `out` is complete once stream 0 has been waited for.
  // kDataLoss or kIo from the cold tier; the call may then be repeated after BeginAppend and RestoreRunningSums.
  Status Run(LayerIdx layer, const AttentionBatch& batch, ConstTensorView q, ConstTensorView k, ConstTensorView v,
             ConstTensorView s, TensorView out) override;

  // A sequence was opened, or its trace is stale.
  void ForgetTrace(SeqId seq);
  // What the sequence's last row selected; may wait for it. Valid until the next call.
  const SequenceTrace& trace(SeqId seq);
  // Of all calls so far; may wait for selections that are still being made.
  const LocalityStats& decode_locality() {
    CountUncounted();
    return decode_locality_;
  }
  const LocalityStats& prefill_locality() {
    CountUncounted();
    return prefill_locality_;
  }

 private:
  AttentionRunner(const AttentionConfig& config, const AttentionOptions& options, kv::KvStore* store,
                  ops::Backend* backend)
      : config_(config), options_(options), store_(store), backend_(backend) {}

  void StoreRows(LayerIdx layer, const AttentionBatch& batch, ConstTensorView k, ConstTensorView v, ConstTensorView s);
  void Select(LayerIdx layer, const AttentionBatch& batch, ConstTensorView q);
  bool PlansAhead(const AttentionBatch& batch, int blocks) const;
  void CountUncounted();
  Status Attend(LayerIdx layer, const AttentionBatch& batch, ConstTensorView q);
  void PlanFetch(LayerIdx layer, const AttentionBatch& batch);
  float Hint(const AttentionBatch& batch, const Reader& reader) const;
  void AddTile(const AttentionBatch& batch, const Reader& reader, const std::byte* block);
  void RunTiles(const AttentionBatch& batch, ConstTensorView q);
  void StageMasks();
  void StageBlocks(std::span<ops::AttentionTile> tiles);
  void GroupTiles();
  void PrepareStates();

  AttentionConfig config_;
  AttentionOptions options_;
  kv::KvStore* store_;
  ops::Backend* backend_;
  std::unique_ptr<BlockSelector> selector_, prefill_selector_;
  SelectorTraits traits_;

  std::vector<ops::KvRow> rows_;
  std::vector<ops::WindowState> states_of_layer_;
  std::vector<int32_t> state_begin_;
  SelectScratch select_scratch_;
  // The selection of a call and where its bits are. On a device, of the layer before too: they may still be on their
  // way, from the selector and to masks_on_device_.
  struct Masks {
    Buffer bits;
    Selection selection;
    ops::Event copied;
    bool copying = false;
    bool complete = false;  // someone has waited for the bits
    // What locality is counted of, when nobody has waited for the selection yet.
    bool uncounted = false;
    LayerIdx layer;
    bool prefill = false;
    std::vector<Segment> segments;
  };
  void WaitForMasks(Masks& masks);
  void CountLocality(const Masks& masks);
  Selection& selection() { return masks_[masks_now_].selection; }
  std::array<Masks, 2> masks_;
  size_t masks_now_ = 0;
  Buffer masks_on_device_;
  bool ahead_ = false;  // the plan at hand was made without a look at the selection
  int32_t fresh_ = 0;   // positions from here on may be rows of this call
  Demand demand_;
  std::vector<kv::BlockWant> wants_;
  std::vector<int32_t> reader_of_want_;
  std::vector<int32_t> open_readers_;
  std::vector<ops::AttentionTile> tiles_, piece_;  // all that can be computed now; those of one call
  std::vector<int32_t> groups_;                    // of piece_
  // Copies of blocks that do not lie in compute memory, in pieces that are used in turn: some are read while others are
  // filled, on a stream of its own.
  struct StagedPiece {
    Buffer blocks, list;  // list: the count in its first 16 bytes, then ops::BlockCopy each
    ops::Event filled, read;
    bool used = false;
  };
  static constexpr size_t kStagedPieces = 4;
  std::array<StagedPiece, kStagedPieces> staged_;
  size_t next_staged_ = 0;
  ops::Event begun_, stored_;  // a call; its rows are in their blocks
  Buffer state_buffer_;
  ops::PartialStates states_;
  std::vector<SequenceTrace> traces_;
  LocalityStats decode_locality_, prefill_locality_;
};

}  // namespace nosa::attention
