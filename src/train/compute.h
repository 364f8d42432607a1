// Where a model is learnt: one backend, whose ops and LibTorch work on the same memory.
#pragma once

#include <string>

#include "ops/backend.h"
#include "tensor/view.h"
#include "train/aten.h"

namespace nosa::train {

// Borrows the backend. One caller thread.
class Compute {
 public:
  explicit Compute(ops::Backend* backend) : backend_(backend) {}

  ops::Backend& backend() const { return *backend_; }
  at::Device device() const { return at::Device(is_cuda() ? at::kCUDA : at::kCPU); }
  // The stream both work on. On a GPU LibTorch's current stream has to be the backend's before the first step, so that
  // neither waits for the other: Trainer's constructor is the place (train/trainer.cc, AdoptStream).
  ops::Stream stream() const { return {}; }
  bool is_cuda() const { return backend_->name() == "cuda"; }

 private:
  ops::Backend* backend_;
};

// A tensor's memory as a view; empty for an undefined tensor. The tensor is contiguous, of at most 4 dimensions, f32,
// bf16 or i64, and outlives the view.
TensorView ViewOf(const at::Tensor& tensor);
at::ScalarType TorchType(DType dtype);

}  // namespace nosa::train
