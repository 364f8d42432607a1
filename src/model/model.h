// A checkpoint as a function over a batch of rows. Immutable after load.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "attention/layer.h"
#include "kv/store.h"
#include "model/decoder.h"
#include "schema/model_config.h"

namespace nosa::model {

// Overrides of what a checkpoint says about its sparsity.
struct SparseOverrides {
  std::optional<int> topk;        // blocks
  std::optional<int> query_topk;  // blocks
};

struct LoadOptions {
  std::optional<DType> dtype;  // of weights and cache, kF32 or kBF16; default: the checkpoint's
  SparseOverrides sparse = {};
  // Whose compute memory the weights lie in; outlives the model. Null: host memory, where a checkpoint's own type is
  // used in place.
  ops::Backend* backend = nullptr;
};

class Model {
 public:
  // From a Hugging Face directory. Fails with one sentence naming file, field or tensor, and both sides of a mismatch.
  static Result<std::shared_ptr<const Model>> Load(const std::filesystem::path& directory, const LoadOptions& options);
  // Random weights in memory, by the name after "random:" (1b, 3b, 8b: RandomConfigNames); for speed, not for sense.
  static Result<std::shared_ptr<const Model>> Random(std::string_view shape, const LoadOptions& options);
  // Either, by --model: "random:1b" or a directory.
  static Result<std::shared_ptr<const Model>> Open(const std::string& name, const LoadOptions& options);

  const schema::ModelConfig& config() const { return config_; }
  const attention::AttentionConfig& attention_config() const { return attention_; }
  DType dtype() const { return dtype_; }
  // "nosa" when the checkpoint has importance weights, else "full".
  std::string_view default_attention() const { return config_.has_importance ? "nosa" : "full"; }

  // How its KV lies in blocks.
  kv::BlockLayout block_layout() const;
  // What a sequence of up to `max_tokens` needs in the fastest tier beside its blocks.
  kv::SequenceNeeds SequenceNeeds(int max_tokens) const;
  // Slots per lane below which restoring a sequence's summaries could not hold the blocks it reads.
  int MinSlotsPerLane() const;
  // Hash of what cached bytes depend on: weights, dtype, layout.
  uint64_t binding() const { return binding_; }
  // Bytes of weights in RAM, beside a mapped checkpoint, and on a device.
  uint64_t copied_weight_bytes() const { return weights_->copied_bytes(); }
  uint64_t device_weight_bytes() const { return weights_->device_bytes(); }

  // One pass over the rows of `call.batch`, whose tokens are given; the sequences have had BeginAppend.
  // logits [n, vocab] f32, packed, in memory the host may read once stream 0 was waited for, are those of the last n
  // rows; empty: none. Commits nothing: the caller does.
  // Fails as attention::AttentionRunner::Run.
  Status Forward(const ForwardCall& call, std::span<const TokenId> tokens, TensorView logits) const;
  // The same for one token of every seat, with nothing that a recorded graph could not hold: logits [R, vocab] f32 are
  // in compute memory, and tokens where the backend addresses them.
  Status Step(const ForwardCall& call, std::span<const TokenId> tokens, TensorView logits) const;

 private:
  Model() = default;
  static Result<std::shared_ptr<const Model>> Make(schema::ModelConfig config, std::shared_ptr<WeightSource> weights,
                                                   const LoadOptions& options);

  schema::ModelConfig config_;
  attention::AttentionConfig attention_;
  DType dtype_ = DType::kF32;
  std::shared_ptr<WeightSource> weights_;
  std::unique_ptr<const Decoder> decoder_;
  uint64_t binding_ = 0;
};

}  // namespace nosa::model
