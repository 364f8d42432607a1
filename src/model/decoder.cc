#include "model/decoder.h"

namespace nosa::model {

#define NOSA_FAMILY(name, factory) \
  Result<std::unique_ptr<const Decoder>> factory(const schema::ModelConfig&, std::shared_ptr<WeightSource>, DType);
#include "model/families/families.def"
#undef NOSA_FAMILY

TensorView Workspace::Get(int slot, Shape shape, DType dtype) {
  const size_t i = static_cast<size_t>(slot), bytes = static_cast<size_t>(shape.elements()) * DTypeBytes(dtype);
  if (i >= buffers_.size()) buffers_.resize(i + 1);
  ops::Grow(*backend_, bytes, backend_->compute_memory(), &buffers_[i]);
  return TensorView(buffers_[i].data(), dtype, shape);
}

Result<std::unique_ptr<const Decoder>> MakeDecoder(const schema::ModelConfig& config,
                                                   std::shared_ptr<WeightSource> weights, DType dtype) {
#define NOSA_FAMILY(name, factory) \
  if (config.family == name) return factory(config, std::move(weights), dtype);
#include "model/families/families.def"
#undef NOSA_FAMILY
  return Unimplemented("model family \"{}\" is not built in", config.family);
}

}  // namespace nosa::model
