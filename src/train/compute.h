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
  // The stream both work on (AdoptStream).
  ops::Stream stream() const { return {}; }
  bool is_cuda() const { return backend_->name() == "cuda"; }

 private:
  ops::Backend* backend_;
};

// On a GPU: makes the backend's stream LibTorch's current one on this thread, and so on those of its backward passes:
// what either is given runs in order, and neither waits for the other. kFailedPrecondition when this LibTorch has no
// CUDA.
Status AdoptStream(const Compute& compute);

// A tensor's memory as a view; empty for an undefined tensor. The tensor is contiguous, of at most 4 dimensions, f32,
// bf16 or i64, and outlives the view.
TensorView ViewOf(const at::Tensor& tensor);
at::ScalarType TorchType(DType dtype);

}  // namespace nosa::train
