// A model at work on one KV store: forward passes over rows of open sequences, and what can be seen of them.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "attention/summaries.h"
#include "model/model.h"

namespace nosa::model {

// What callers choose and see of attention, so that rooms above need not know that room.
using AttentionOptions = attention::AttentionOptions;
using LocalityStats = attention::LocalityStats;
using Selection = attention::Selection;
using SelectionRecord = attention::SelectionRecord;
using SequenceTrace = attention::SequenceTrace;
using attention::ForEachBit;

// The next tokens of one sequence: its rows in a pass.
struct PassRows {
  SeqId seq;
  std::span<const TokenId> tokens;
};

// For one store and one caller thread.
class Runner {
 public:
  // Fails as AttentionRunner::Create. `store` and `backend` outlive the runner.
  static Result<std::unique_ptr<Runner>> Create(std::shared_ptr<const Model> model, const AttentionOptions& options,
                                                kv::KvStore* store, ops::Backend* backend);

  // One pass that appends the rows to their sequences: all of them, or none when it fails. `prefill`: a prompt chunk,
  // else single steps of many sequences, in which no sequence's bits depend on the others. logits [n, vocab] f32, in
  // shared memory of the backend: of the last n rows, there on return. `record`, when not null, gets the selection of
  // every row. kDataLoss, kIo or kResourceExhausted from the cold tier: call Restore on every sequence of the pass
  // before the next one.
  Status Forward(std::span<const PassRows> rows, bool prefill, TensorView logits, SelectionRecord* record = nullptr);

  // After a sequence was truncated or a pass with it failed: makes its summaries fit its length again. Fails as
  // kv::BlockFetch::Next; the sequence is then to be truncated further.
  Status Restore(SeqId seq);
  // Bytes of what a chunk of tokens [first, end) adds to a sequence's summaries.
  uint64_t ChunkBytes(int first, int end) const;
  // To such bytes, of a sequence of `end` tokens; and from them, to a sequence whose summaries are those of its first
  // `first` tokens. On stream 0: the bytes, in shared memory, stay valid until it has passed.
  void SaveChunk(SeqId seq, int first, int end, MutableBytes bytes);
  void LoadChunk(SeqId seq, int first, int end, ConstBytes bytes);
  // A sequence was opened: nothing is known of its last selection.
  void Forget(SeqId seq) { attention_->ForgetTrace(seq); }

  // What the last row of the sequence read, and its locality. Valid until the next pass.
  const SequenceTrace& trace(SeqId seq) const { return attention_->trace(seq); }
  const LocalityStats& decode_locality() const { return attention_->decode_locality(); }
  const LocalityStats& prefill_locality() const { return attention_->prefill_locality(); }

 private:
  Runner(std::shared_ptr<const Model> model, kv::KvStore* store, ops::Backend* backend)
      : model_(std::move(model)), store_(store), backend_(backend), workspace_(backend), summaries_(backend) {}

  std::shared_ptr<const Model> model_;
  kv::KvStore* store_;
  ops::Backend* backend_;
  Workspace workspace_;
  attention::SummaryCopier summaries_;
  std::unique_ptr<attention::AttentionRunner> attention_;
};

}  // namespace nosa::model
