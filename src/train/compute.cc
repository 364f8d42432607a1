#include "train/compute.h"

#ifdef NOSA_TORCH_HAS_CUDA
#include <c10/cuda/CUDAStream.h>
#endif

namespace nosa::train {
namespace {

DType TypeOf(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat: return DType::kF32;
    case at::kBFloat16: return DType::kBF16;
    case at::kLong: return DType::kI64;
    default: NOSA_CHECK(false, "a tensor of type {} has no view", c10::toString(tensor.scalar_type()));
  }
}

}  // namespace

Status AdoptStream(const Compute& compute) {
  if (!compute.is_cuda()) return Status::Ok();
#ifdef NOSA_TORCH_HAS_CUDA
  const auto stream = static_cast<cudaStream_t>(compute.backend().native_stream(compute.stream()));
  c10::cuda::setCurrentCUDAStream(c10::cuda::getStreamFromExternal(stream, c10::cuda::current_device()));
  return Status::Ok();
#else
  return FailedPrecondition("this nosa-train is built with a LibTorch without CUDA: use --backend cpu");
#endif
}

TensorView ViewOf(const at::Tensor& tensor) {
  if (!tensor.defined()) return {};
  NOSA_CHECK(tensor.is_contiguous() && tensor.dim() >= 1 && tensor.dim() <= Shape::kMaxRank,
             "a tensor of {} dimensions{} has no view", tensor.dim(),
             tensor.is_contiguous() ? "" : ", not contiguous,");
  return TensorView(tensor.data_ptr(), TypeOf(tensor),
                    Shape(std::span<const int64_t>(tensor.sizes().data(), static_cast<size_t>(tensor.dim()))));
}

at::ScalarType TorchType(DType dtype) {
  NOSA_CHECK(dtype == DType::kF32 || dtype == DType::kBF16, "nothing is learnt in {}", DTypeName(dtype));
  return dtype == DType::kBF16 ? at::kBFloat16 : at::kFloat;
}

}  // namespace nosa::train
