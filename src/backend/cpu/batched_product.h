// Products of many rows, by oneDNN: ops::ProductArgs::Mode::kBatched.
#pragma once

#include <memory>

#include "ops/product.h"

namespace nosa::cpu {

struct CpuContext;

// Weights are read in place, row-major [N, K]: from some 256 rows per thread on that costs little against oneDNN's own
// layout, and a second copy of every weight would cost as much memory as the first. The threads are the pool's: each
// runs single-threaded primitives on its slice of y (Debian's oneDNN would otherwise start OpenMP threads beside ours).
// Keeps the primitives it has made. One caller thread at a time.
class BatchedProduct {
 public:
  BatchedProduct();
  ~BatchedProduct();

  // False, with y untouched, where this machine's oneDNN has no such product (bf16 before AVX-512).
  bool Run(CpuContext& context, const ops::ProductArgs& args);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace nosa::cpu
