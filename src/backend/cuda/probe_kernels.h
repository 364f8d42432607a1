// The kernels of the probe. Launched, not waited for.
#pragma once

#include <cuda_runtime.h>

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace nosa::cuda {

// Random words, a function of `seed` and the place.
void FillRandom(uint32_t* words, size_t count, uint32_t seed, cudaStream_t stream);
// Numbers in [-scale, scale).
void FillUniform(float* values, size_t count, float scale, uint32_t seed, cudaStream_t stream);
void FillUniform(BFloat16* values, size_t count, float scale, uint32_t seed, cudaStream_t stream);
// One kernel that does nothing.
void LaunchEmpty(cudaStream_t stream);

}  // namespace nosa::cuda
