#include "model/weights.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstring>
#include <map>
#include <set>

#include "base/bytes.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/rng.h"

namespace nosa::model {
namespace {

// Tensors by name for a backend whose compute memory the host cannot address.
class DeviceTensors {
 public:
  explicit DeviceTensors(ops::Backend* backend) : backend_(backend) {}
  // False: tensors stay on the host.
  bool used() const { return backend_ != nullptr && !HostAddressable(backend_->compute_memory()); }
  uint64_t bytes() const { return bytes_; }
  uint64_t shared_bytes() const { return shared_bytes_; }
  const Buffer* Find(std::string_view name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
  }

  Status Reserve(std::span<const schema::TensorSpec> tensors, DType dtype) {
    if (!used()) return Status::Ok();
    uint64_t bytes = 0;
    for (const schema::TensorSpec& tensor : tensors) {
      if (tensor.by_row) {
        by_row_.insert(tensor.name);
      } else {
        bytes += RoundUp(static_cast<uint64_t>(tensor.shape.elements()) * DTypeBytes(dtype), kAlignment);
      }
    }
    Result<Buffer> slab = backend_->Allocate(bytes, backend_->compute_memory());
    if (!slab.ok()) return slab.status().WithContext("weights");
    slab_ = std::move(slab).value();
    return Status::Ok();
  }

  Result<const Buffer*> Upload(std::string_view name, ConstBytes data) {
    NOSA_ASSIGN_OR_RETURN(Buffer buffer, Allocate(name, data.size()));
    NOSA_RETURN_IF_ERROR(CopyIn(data, &buffer));
    return Keep(name, std::move(buffer));
  }

  // `data` over and over, up to `bytes`: most of it never crosses to the device.
  Result<const Buffer*> Repeat(std::string_view name, ConstBytes data, size_t bytes) {
    NOSA_ASSIGN_OR_RETURN(Buffer buffer, Allocate(name, bytes));
    NOSA_RETURN_IF_ERROR(CopyIn(data, &buffer));
    for (size_t done = data.size(); done < bytes; done *= 2)
      backend_->Copy(buffer.data() + done, buffer.data(), std::min(done, bytes - done), {});
    backend_->Synchronize({});
    return Keep(name, std::move(buffer));
  }

 private:
  // Mapped files are read, and pinned memory is copied, at full speed; a copy out of pageable memory is not.
  static constexpr size_t kBounceBytes = size_t{4} << 20;
  static constexpr size_t kAlignment = 256;  // in the slab

  Result<Buffer> Allocate(std::string_view name, size_t bytes) {
    if (by_row_.contains(name)) {
      Result<Buffer> shared = backend_->Allocate(bytes, backend_->shared_memory());
      if (shared.ok()) return shared;
      LogWarn("{} takes {} of the device's memory: {}", name, FormatByteSize(bytes), shared.status().message());
    } else if (bytes <= slab_.size() - taken_) {
      std::byte* data = slab_.data() + taken_;
      taken_ = std::min(slab_.size(), taken_ + RoundUp(bytes, kAlignment));
      return Buffer(data, bytes, slab_.kind(), nullptr);  // the slab's
    }
    Result<Buffer> buffer = backend_->Allocate(bytes, backend_->compute_memory());
    if (!buffer.ok()) return buffer.status().WithContext(fmt::format("weights, {}", name));
    return buffer;
  }
  Status CopyIn(ConstBytes data, const Buffer* to) {
    if (HostAddressable(to->kind())) {
      std::memcpy(to->data(), data.data(), data.size());
      return Status::Ok();
    }
    for (size_t done = 0; done < data.size(); next_ = 1 - next_) {
      Buffer& bounce = bounce_[next_];
      if (bounce.size() == 0) {
        NOSA_ASSIGN_OR_RETURN(bounce, backend_->Allocate(kBounceBytes, backend_->shared_memory()));
      } else {
        backend_->Wait(copied_[next_]);
      }
      const size_t count = std::min(kBounceBytes, data.size() - done);
      std::memcpy(bounce.data(), data.data() + done, count);
      backend_->Copy(to->data() + done, bounce.data(), count, {});
      copied_[next_] = backend_->Record({});
      done += count;
    }
    return Status::Ok();
  }
  const Buffer* Keep(std::string_view name, Buffer buffer) {
    (HostAddressable(buffer.kind()) ? shared_bytes_ : bytes_) += buffer.size();
    return &(tensors_[std::string(name)] = std::move(buffer));
  }

  ops::Backend* backend_;
  Buffer slab_;
  std::set<std::string, std::less<>> by_row_;  // names
  size_t taken_ = 0;
  std::map<std::string, Buffer, std::less<>> tensors_;
  uint64_t bytes_ = 0, shared_bytes_ = 0;
  std::array<Buffer, 2> bounce_;
  std::array<ops::Event, 2> copied_;
  size_t next_ = 0;
};

// What both kinds of source keep: tensors on the device, or copies in RAM.
class KeepingSource : public WeightSource {
 public:
  explicit KeepingSource(ops::Backend* backend) : device_(backend) {}

  Status Reserve(std::span<const schema::TensorSpec> tensors, DType dtype) override {
    return device_.Reserve(tensors, dtype);
  }
  Result<ConstTensorView> Put(std::string_view name, ConstTensorView tensor) override {
    const ConstBytes data = {tensor.bytes(),
                             static_cast<size_t>(tensor.shape().elements()) * DTypeBytes(tensor.dtype())};
    if (device_.used()) {
      NOSA_ASSIGN_OR_RETURN(const Buffer* const kept, device_.Upload(name, data));
      return ConstTensorView(kept->View(tensor.dtype(), tensor.shape()));
    }
    Buffer& copy = kept_[std::string(name)];
    copy = Buffer::Host(data.size());
    copied_bytes_ += copy.size();
    std::memcpy(copy.data(), data.data(), data.size());
    return ConstTensorView(copy.View(tensor.dtype(), tensor.shape()));
  }

  uint64_t copied_bytes() const override { return copied_bytes_ + device_.shared_bytes(); }
  uint64_t device_bytes() const override { return device_.bytes(); }

 protected:
  DeviceTensors device_;
  std::map<std::string, Buffer> kept_;  // on the host, by name
  uint64_t copied_bytes_ = 0;
};

class CheckpointSource final : public KeepingSource {
 public:
  CheckpointSource(std::shared_ptr<const io::Safetensors> checkpoint, ops::Backend* backend)
      : KeepingSource(backend),
        checkpoint_(std::move(checkpoint)),
        fingerprint_(schema::WeightsFingerprint(*checkpoint_)) {}

  bool Has(std::string_view name) const override { return checkpoint_->Has(name); }

  Result<ConstTensorView> Get(std::string_view name, const Shape& shape, DType dtype) override {
    NOSA_ASSIGN_OR_RETURN(const ConstTensorView tensor, checkpoint_->Get(name));
    if (!(tensor.shape() == shape)) {
      return InvalidArgument("expected {} {}, found {} in {}", name, shape.ToString(), tensor.shape().ToString(),
                             checkpoint_->FileOf(name));
    }
    if (tensor.dtype() == dtype && !device_.used()) return tensor;
    if (tensor.dtype() != DType::kF32 && tensor.dtype() != DType::kBF16) {
      return Unimplemented("{} is {} in {}; f32 and bf16 are supported", name, DTypeName(tensor.dtype()),
                           checkpoint_->FileOf(name));
    }
    if (device_.used()) return OnDevice(name, tensor, dtype);
    const auto known = kept_.find(std::string(name));
    if (known != kept_.end()) return ConstTensorView(known->second.View(dtype, shape));
    Buffer copy = Converted(tensor, dtype);
    copied_bytes_ += copy.size();
    const Buffer& kept = kept_[std::string(name)] = std::move(copy);
    return ConstTensorView(kept.View(dtype, shape));
  }

  uint64_t fingerprint() const override { return fingerprint_; }

 private:
  static Buffer Converted(const ConstTensorView& tensor, DType dtype) {
    const size_t n = static_cast<size_t>(tensor.shape().elements());
    Buffer copy = Buffer::Host(n * DTypeBytes(dtype));
    for (size_t i = 0; i < n; ++i) StoreFloat(copy.data(), dtype, i, LoadFloat(tensor.bytes(), tensor.dtype(), i));
    return copy;
  }
  Result<ConstTensorView> OnDevice(std::string_view name, const ConstTensorView& tensor, DType dtype) {
    const Buffer* kept = device_.Find(name);
    if (kept == nullptr) {
      const size_t bytes = static_cast<size_t>(tensor.shape().elements()) * DTypeBytes(dtype);
      const Buffer converted = tensor.dtype() == dtype ? Buffer() : Converted(tensor, dtype);
      const ConstBytes data = {tensor.dtype() == dtype ? tensor.bytes() : converted.data(), bytes};
      NOSA_ASSIGN_OR_RETURN(kept, device_.Upload(name, data));
    }
    return ConstTensorView(kept->View(dtype, tensor.shape()));
  }

  std::shared_ptr<const io::Safetensors> checkpoint_;
  uint64_t fingerprint_;
};

class RandomSource final : public KeepingSource {
 public:
  RandomSource(const schema::ModelConfig& config, uint64_t seed, ops::Backend* backend)
      : KeepingSource(backend), importance_(config.has_importance), seed_(seed) {}

  bool Has(std::string_view name) const override {
    return importance_ || (!name.ends_with("self_attn.delta.weight") && !name.ends_with("self_attn.A"));
  }

  Result<ConstTensorView> Get(std::string_view name, const Shape& shape, DType dtype) override {
    const size_t n = static_cast<size_t>(shape.elements()), period = std::min(n, kPeriod);
    if (device_.used()) {
      const Buffer* kept = device_.Find(name);
      if (kept == nullptr) {
        const Buffer once = Buffer::Host(period * DTypeBytes(dtype));
        Draw(name, shape, dtype, period, once.data());
        NOSA_ASSIGN_OR_RETURN(kept, device_.Repeat(name, once.span(), n * DTypeBytes(dtype)));
      }
      return ConstTensorView(kept->View(dtype, shape));
    }
    Buffer& buffer = kept_[std::string(name)];
    if (buffer.size() == 0) {
      buffer = Buffer::Host(n * DTypeBytes(dtype));
      copied_bytes_ += buffer.size();
      Draw(name, shape, dtype, period, buffer.data());
      const size_t chunk = period * DTypeBytes(dtype);
      for (size_t at = chunk; at < buffer.size(); at += chunk)
        std::memcpy(buffer.data() + at, buffer.data(), std::min(chunk, buffer.size() - at));
    }
    return ConstTensorView(buffer.View(dtype, shape));
  }

  uint64_t fingerprint() const override { return seed_; }

 private:
  // One period of random numbers is made and repeated: a billion draws would take minutes and change no timing.
  static constexpr size_t kPeriod = 1 << 16;

  void Draw(std::string_view name, const Shape& shape, DType dtype, size_t count, void* to) const {
    const bool is_vector = shape.rank() == 1;
    const float scale = is_vector ? 0.05f : 1.0f / std::sqrt(static_cast<float>(shape[1]));
    const Philox rng(seed_, Hash64(std::as_bytes(std::span(name.data(), name.size()))));
    for (size_t i = 0; i < count; ++i) StoreFloat(to, dtype, i, (is_vector ? 1.0f : 0.0f) + rng.Normal(i) * scale);
  }

  bool importance_;
  uint64_t seed_;
};

}  // namespace

std::unique_ptr<WeightSource> MakeCheckpointSource(std::shared_ptr<const io::Safetensors> checkpoint,
                                                   ops::Backend* backend) {
  return std::make_unique<CheckpointSource>(std::move(checkpoint), backend);
}

std::unique_ptr<WeightSource> MakeRandomSource(const schema::ModelConfig& config, uint64_t seed,
                                               ops::Backend* backend) {
  return std::make_unique<RandomSource>(config, seed, backend);
}

}  // namespace nosa::model
