// A family's layers as functions over rows of hidden states: the seam between checkpoints and the rest.
#pragma once

#include <memory>
#include <span>
#include <string_view>

#include "attention/layer.h"
#include "base/status.h"
#include "model/weights.h"
#include "ops/backend.h"
#include "schema/model_config.h"
#include "tensor/view.h"

namespace nosa::model {

// Slots of a workspace: the model's own, and the first of a family's.
inline constexpr int kHiddenSlot = 0, kLogitsSlot = 1, kFirstFamilySlot = 2;

// Memory for intermediate results, kept from call to call. One per caller thread.
class Workspace {
 public:
  explicit Workspace(ops::Backend* backend) : backend_(backend) {}
  // A packed view in compute memory; contents unspecified. The same `slot` gives the same memory, grown when needed.
  TensorView Get(int slot, Shape shape, DType dtype = DType::kF32);

 private:
  ops::Backend* backend_;
  std::vector<Buffer> buffers_;
};

// The rows of one forward call and where they are computed.
struct ForwardCall {
  ops::Backend* backend = nullptr;
  attention::AttentionLayer* attention = nullptr;
  Workspace* workspace = nullptr;
  attention::AttentionBatch batch;  // its prefill flag also chooses between batched and row-wise products
};

// Immutable after load; thread-safe, state is passed in. Hidden states are [R, hidden] f32.
class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual int layers() const = 0;
  // x[r] = embedding of tokens[r].
  virtual void Embed(const ForwardCall& call, std::span<const TokenId> tokens, TensorView x) const = 0;
  // x through layers [begin, end), in place. Fails as attention::AttentionRunner::Run.
  virtual Status RunLayers(const ForwardCall& call, int begin, int end, TensorView x) const = 0;
  // logits[i] = head(norm(x[i])) for the rows given, [R, vocab] f32 in compute memory.
  virtual void Head(const ForwardCall& call, ConstTensorView x, TensorView logits) const = 0;
};

// By the names of families.def. Takes every weight it needs; keeps `weights` alive.
Result<std::unique_ptr<const Decoder>> MakeDecoder(const schema::ModelConfig& config,
                                                   std::shared_ptr<WeightSource> weights, DType dtype);

}  // namespace nosa::model
