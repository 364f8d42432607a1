#include "model/weights.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <map>

#include "base/hash.h"
#include "base/rng.h"
#include "schema/tensors.h"

namespace nosa::model {
namespace {

class CheckpointSource final : public WeightSource {
 public:
  explicit CheckpointSource(std::shared_ptr<const io::Safetensors> checkpoint)
      : checkpoint_(std::move(checkpoint)), fingerprint_(schema::WeightsFingerprint(*checkpoint_)) {}

  bool Has(std::string_view name) const override { return checkpoint_->Has(name); }

  Result<ConstTensorView> Get(std::string_view name, const Shape& shape, DType dtype) override {
    NOSA_ASSIGN_OR_RETURN(const ConstTensorView tensor, checkpoint_->Get(name));
    if (!(tensor.shape() == shape)) {
      return InvalidArgument("expected {} {}, found {} in {}", name, shape.ToString(), tensor.shape().ToString(),
                             checkpoint_->FileOf(name));
    }
    if (tensor.dtype() == dtype) return tensor;
    if (tensor.dtype() != DType::kF32 && tensor.dtype() != DType::kBF16) {
      return Unimplemented("{} is {} in {}; f32 and bf16 are supported", name, DTypeName(tensor.dtype()),
                           checkpoint_->FileOf(name));
    }
    const auto known = copies_.find(std::string(name));
    if (known != copies_.end()) return ConstTensorView(known->second.View(dtype, shape));
    const size_t n = static_cast<size_t>(shape.elements());
    Buffer copy = Buffer::Host(n * DTypeBytes(dtype));
    for (size_t i = 0; i < n; ++i) StoreFloat(copy.data(), dtype, i, LoadFloat(tensor.bytes(), tensor.dtype(), i));
    copied_bytes_ += copy.size();
    const Buffer& kept = copies_[std::string(name)] = std::move(copy);
    return ConstTensorView(kept.View(dtype, shape));
  }

  uint64_t fingerprint() const override { return fingerprint_; }
  uint64_t copied_bytes() const override { return copied_bytes_; }

 private:
  std::shared_ptr<const io::Safetensors> checkpoint_;
  std::map<std::string, Buffer> copies_;
  uint64_t fingerprint_;
  uint64_t copied_bytes_ = 0;
};

class RandomSource final : public WeightSource {
 public:
  RandomSource(const schema::ModelConfig& config, uint64_t seed) : importance_(config.has_importance), seed_(seed) {}

  bool Has(std::string_view name) const override {
    return importance_ || (!name.ends_with("self_attn.delta.weight") && !name.ends_with("self_attn.A"));
  }

  Result<ConstTensorView> Get(std::string_view name, const Shape& shape, DType dtype) override {
    Buffer& buffer = tensors_[std::string(name)];
    if (buffer.size() == 0) Fill(name, shape, dtype, &buffer);
    return ConstTensorView(buffer.View(dtype, shape));
  }

  uint64_t fingerprint() const override { return seed_; }
  uint64_t copied_bytes() const override { return bytes_; }

 private:
  // One period of random numbers is made and repeated: a billion draws would take minutes and change no timing.
  static constexpr size_t kPeriod = 1 << 16;

  void Fill(std::string_view name, const Shape& shape, DType dtype, Buffer* buffer) {
    const size_t n = static_cast<size_t>(shape.elements());
    *buffer = Buffer::Host(n * DTypeBytes(dtype));
    bytes_ += buffer->size();
    const bool is_vector = shape.rank() == 1;
    const float scale = is_vector ? 0.05f : 1.0f / std::sqrt(static_cast<float>(shape[1]));
    const Philox rng(seed_, Hash64(std::as_bytes(std::span(name.data(), name.size()))));
    const size_t period = std::min(n, kPeriod);
    for (size_t i = 0; i < period; ++i)
      StoreFloat(buffer->data(), dtype, i, (is_vector ? 1.0f : 0.0f) + rng.Normal(i) * scale);
    const size_t chunk = period * DTypeBytes(dtype);
    for (size_t at = chunk; at < buffer->size(); at += chunk) {
      std::memcpy(buffer->data() + at, buffer->data(), std::min(chunk, buffer->size() - at));
    }
  }

  bool importance_;
  uint64_t seed_;
  std::map<std::string, Buffer> tensors_;
  uint64_t bytes_ = 0;
};

}  // namespace

std::unique_ptr<WeightSource> MakeCheckpointSource(std::shared_ptr<const io::Safetensors> checkpoint) {
  return std::make_unique<CheckpointSource>(std::move(checkpoint));
}

std::unique_ptr<WeightSource> MakeRandomSource(const schema::ModelConfig& config, uint64_t seed) {
  return std::make_unique<RandomSource>(config, seed);
}

}  // namespace nosa::model
