// Products of many rows, by cuBLASLt: ops::ProductArgs::Mode::kBatched.
#pragma once

#include <cstdint>
#include <map>

#include "backend/cuda/context.h"
#include "tensor/dtype.h"

namespace nosa::cuda {

// Keeps what cuBLASLt chose for each shape, as asking costs more than launching. One caller thread at a time.
class BatchedProduct {
 public:
  // y [m, n] = x [m, k] W [n, k]^T, or y += with `accumulate`. Strides in elements from row to row.
  struct Call {
    DType dtype = DType::kF32;  // of x and w
    int64_t m = 0, n = 0, k = 0;
    const void* x = nullptr;
    const void* w = nullptr;
    float* y = nullptr;
    int64_t x_stride = 0, w_stride = 0, y_stride = 0;
    bool accumulate = false;
  };

  // False, with y untouched, where cuBLASLt has no such product or rows of x or w are not aligned to 16 bytes.
  bool Run(Context& context, ops::Stream stream, const Call& call);

 private:
  // What a choice depends on.
  struct Key {
    DType dtype = DType::kF32;
    int64_t m = 0, n = 0, k = 0;
    int64_t x_stride = 0, w_stride = 0, y_stride = 0;
    uint32_t y_alignment = 0;  // bytes
    friend auto operator<=>(const Key&, const Key&) = default;
  };
  struct Plan {
    cublasLtMatmulDescOpaque_t matmul = {};
    cublasLtMatrixLayoutOpaque_t x = {}, w = {}, y = {};
    cublasLtMatmulAlgo_t algorithm = {};
    bool usable = false;
  };

  static Plan MakePlan(Context& context, const Key& key);

  std::map<Key, Plan> plans_;
};

}  // namespace nosa::cuda
