// What this machine can do at most, measured: the other side of every share of the roofline.
#pragma once

#include "ops/backend.h"

namespace nosa::cpu {

// Bytes per second at which all threads of `backend` (a CPU backend) sum up `bytes` of memory that is in no cache
// before: the best of `repeats` passes.
double ReadBandwidth(ops::Backend& backend, size_t bytes, int repeats);

// Floating-point operations per second of oneDNN's product y[m, n] = x[m, k] w with weights in the layout oneDNN itself
// prefers, on all threads of `backend` as the product op uses them: the best of `repeats`. 0 where this machine's
// oneDNN has no such product.
double OneDnnPeak(ops::Backend& backend, DType dtype, int64_t m, int64_t n, int64_t k, int repeats);

}  // namespace nosa::cpu
