#include "backend/cuda/batched_product.h"

#include <bit>

namespace nosa::cuda {
namespace {

// More shapes than this means chunks of ever new lengths, and all are asked for anew.
constexpr size_t kMaxPlans = 512;

// cuBLAS's fast kernels load 16 bytes at a time; without that our own are as good.
constexpr uint32_t kAlignment = 16;

void Check(cublasStatus_t status, const char* what) {
  NOSA_CHECK(status == CUBLAS_STATUS_SUCCESS, "cuBLAS: {} fails with {}", what, static_cast<int>(status));
}

// Bytes that every row starts at a multiple of: a power of two, kAlignment at most.
uint32_t AlignmentOf(const void* data, int64_t stride, DType dtype) {
  const uint64_t offsets =
      reinterpret_cast<uintptr_t>(data) | (static_cast<uint64_t>(stride) * DTypeBytes(dtype)) | kAlignment;
  return uint32_t{1} << std::countr_zero(offsets);
}

void SetAlignment(cublasLtMatmulPreference_t preference, cublasLtMatmulPreferenceAttributes_t which, uint32_t bytes) {
  Check(cublasLtMatmulPreferenceSetAttribute(preference, which, &bytes, sizeof(bytes)), "setting an alignment");
}

}  // namespace

// cuBLAS counts columns first: what it sees is y^T [n, m] = W [n, k] x^T [k, m], with W transposed from [k, n].
BatchedProduct::Plan BatchedProduct::MakePlan(Context& context, const Key& key) {
  Plan plan;
  // f32 is f32: without a flag that allows TF32 there is none.
  Check(cublasLtMatmulDescInit(&plan.matmul, CUBLAS_COMPUTE_32F, CUDA_R_32F), "describing a product");
  const cublasOperation_t transposed = CUBLAS_OP_T;
  Check(cublasLtMatmulDescSetAttribute(&plan.matmul, CUBLASLT_MATMUL_DESC_TRANSA, &transposed, sizeof(transposed)),
        "describing a product");
  const cudaDataType_t inputs = key.dtype == DType::kF32 ? CUDA_R_32F : CUDA_R_16BF;
  const auto layout = [](cublasLtMatrixLayout_t to, cudaDataType_t type, int64_t rows, int64_t columns,
                         int64_t stride) {
    return cublasLtMatrixLayoutInit(to, type, static_cast<uint64_t>(rows), static_cast<uint64_t>(columns), stride);
  };
  Check(layout(&plan.w, inputs, key.k, key.n, key.w_stride), "the layout of w");
  Check(layout(&plan.x, inputs, key.k, key.m, key.x_stride), "the layout of x");
  Check(layout(&plan.y, CUDA_R_32F, key.n, key.m, key.y_stride), "the layout of y");

  cublasLtMatmulPreferenceOpaque_t preference = {};
  Check(cublasLtMatmulPreferenceInit(&preference), "a preference");
  const uint64_t workspace = context.cublas_workspace_bytes();
  Check(cublasLtMatmulPreferenceSetAttribute(&preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace,
                                             sizeof(workspace)),
        "a preference");
  SetAlignment(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, kAlignment);
  SetAlignment(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, kAlignment);
  SetAlignment(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, key.y_alignment);
  SetAlignment(&preference, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, key.y_alignment);

  cublasLtMatmulHeuristicResult_t best = {};
  int found = 0;
  const cublasStatus_t status = cublasLtMatmulAlgoGetHeuristic(context.cublas(), &plan.matmul, &plan.w, &plan.x,
                                                               &plan.y, &plan.y, &preference, 1, &best, &found);
  plan.usable = status == CUBLAS_STATUS_SUCCESS && found == 1 && best.state == CUBLAS_STATUS_SUCCESS;
  plan.algorithm = best.algo;
  return plan;
}

bool BatchedProduct::Run(Context& context, ops::Stream stream, const Call& call) {
  if (AlignmentOf(call.x, call.x_stride, call.dtype) < kAlignment) return false;
  if (AlignmentOf(call.w, call.w_stride, call.dtype) < kAlignment) return false;
  const Key key = {.dtype = call.dtype,
                   .m = call.m,
                   .n = call.n,
                   .k = call.k,
                   .x_stride = call.x_stride,
                   .w_stride = call.w_stride,
                   .y_stride = call.y_stride,
                   .y_alignment = AlignmentOf(call.y, call.y_stride, DType::kF32)};
  auto found = plans_.find(key);
  if (found == plans_.end()) {
    if (plans_.size() >= kMaxPlans) plans_.clear();
    found = plans_.emplace(key, MakePlan(context, key)).first;
  }
  Plan& plan = found->second;
  if (!plan.usable) return false;
  const float one = 1.0f, beta = call.accumulate ? 1.0f : 0.0f;
  const cublasStatus_t status = cublasLtMatmul(
      context.cublas(), &plan.matmul, &one, call.w, &plan.w, call.x, &plan.x, &beta, call.y, &plan.y, call.y, &plan.y,
      &plan.algorithm, context.cublas_workspace(stream), context.cublas_workspace_bytes(), context.stream(stream));
  // A choice that it then does not stand by is no reason to end the program.
  plan.usable = status != CUBLAS_STATUS_NOT_SUPPORTED && status != CUBLAS_STATUS_INVALID_VALUE;
  if (!plan.usable) return false;
  Check(status, "a product");
  return true;
}

}  // namespace nosa::cuda
