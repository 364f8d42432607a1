// Where a model's tensors come from: a checkpoint, or random numbers made in memory.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/status.h"
#include "io/safetensors.h"
#include "ops/backend.h"
#include "schema/model_config.h"
#include "tensor/buffer.h"
#include "tensor/view.h"

namespace nosa::model {

// How a tensor is read: all of it with every step, or one row a token. On a device the second kind stays in memory that
// is shared with the host, of which there is more.
enum class WeightAccess : uint8_t { kWhole, kByRow };

// Hands out tensors in the type they will be computed in. Views live as long as the source. Not thread-safe: used at
// load.
class WeightSource {
 public:
  virtual ~WeightSource() = default;
  virtual bool Has(std::string_view name) const = 0;
  // The tensor as `dtype` (f32 or bf16) with exactly `shape`; kNotFound or kInvalidArgument with both sides.
  virtual Result<ConstTensorView> Get(std::string_view name, const Shape& shape, DType dtype,
                                      WeightAccess access = WeightAccess::kWhole) = 0;
  // All tensors that are read as a whole will take about `bytes` together. Those that are asked for one after the other
  // then lie so in device memory, and can be taken as one matrix.
  virtual Status Reserve(uint64_t bytes) { return Status::Ok(); }
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
// when they do not fit), those that are read by row into its shared memory, where there is some; null: host memory.

// Tensors of a mapped checkpoint: on the host used in place when their type is the one asked for, converted once
// otherwise.
std::unique_ptr<WeightSource> MakeCheckpointSource(std::shared_ptr<const io::Safetensors> checkpoint,
                                                   ops::Backend* backend);

// Reproducible random tensors, scaled so that activations keep their size. For speed measurements, where no trained
// model of the shape is at hand.
std::unique_ptr<WeightSource> MakeRandomSource(const schema::ModelConfig& config, uint64_t seed, ops::Backend* backend);

}  // namespace nosa::model
