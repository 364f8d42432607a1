// Where a model's tensors come from: a checkpoint, or random numbers made in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"
#include "io/safetensors.h"
#include "ops/backend.h"
#include "schema/model_config.h"
#include "schema/tensors.h"
#include "tensor/buffer.h"
#include "tensor/view.h"

namespace nosa::model {

// Hands out tensors in the type they will be computed in. Views live as long as the source. Not thread-safe: used at
// load.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual bool Has(std::string_view name) const = 0;
  // The tensor as `dtype` (f32 or bf16) with exactly `shape`; kNotFound or kInvalidArgument with both sides.
  virtual Result<ConstTensorView> Get(std::string_view name, const Shape& shape, DType dtype) = 0;
  // Before any Get: these will be asked for, as `dtype`. On a device those that are asked for one after the other then
  // lie so, and can be taken as one matrix; those that are read by row lie in memory shared with the host, of which
  // there is more. kResourceExhausted with sizes.
  virtual Status Reserve(std::span<const schema::TensorSpec> tensors, DType dtype) = 0;
  // A packed tensor made from the checkpoint, as a copy where the weights lie.
  virtual Result<ConstTensorView> Put(std::string_view name, ConstTensorView tensor) = 0;
  // Tells sources apart, for binding cached KV to them.
  virtual uint64_t fingerprint() const = 0;
  // Bytes of copies this source made in RAM, shared with a device or not; mapped tensors cost none.
  virtual uint64_t copied_bytes() const = 0;
  // Bytes of its tensors in device memory.
  virtual uint64_t device_bytes() const = 0;
};

// Both kinds put tensors into compute memory of `backend`, which outlives the source (kResourceExhausted with sizes
// when they do not fit); null: host memory.

// Tensors of a mapped checkpoint: on the host used in place when their type is the one asked for, converted once
// otherwise.
std::unique_ptr<WeightSource> MakeCheckpointSource(std::shared_ptr<const io::Safetensors> checkpoint,
                                                   ops::Backend* backend);

// Reproducible random tensors, scaled so that activations keep their size. For speed measurements, where no trained
// model of the shape is at hand.
std::unique_ptr<WeightSource> MakeRandomSource(const schema::ModelConfig& config, uint64_t seed, ops::Backend* backend);

}  // namespace nosa::model
