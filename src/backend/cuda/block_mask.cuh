// Sets of blocks as bit masks in shared memory, for the kernels that select.
#pragma once

#include <cstdint>

namespace nosa::cuda {

// Writes the members of mask[0 .. words) in ascending order to ids[0 .. room) and returns how many there are, to every
// thread. All threads of the CTA call it; `prefix` is shared memory for words + 1 numbers. Ends synchronised.
__device__ inline int EmitMembers(const uint32_t* mask, int words, int32_t* prefix, int32_t* ids, int room) {
  if (threadIdx.x < 32) {
    int sum = 0;
    for (int first = 0; first < words; first += 32) {
      const int w = first + static_cast<int>(threadIdx.x);
      int n = w < words ? __popc(mask[w]) : 0;
      for (int step = 1; step < 32; step *= 2) {
        const int below = __shfl_up_sync(0xffffffffu, n, step);
        if (static_cast<int>(threadIdx.x) >= step) n += below;
      }
      if (w < words) prefix[w + 1] = sum + n;
      sum += __shfl_sync(0xffffffffu, n, 31);
    }
    if (threadIdx.x == 0) prefix[0] = 0;
  }
  __syncthreads();
  for (int w = static_cast<int>(threadIdx.x); w < words; w += static_cast<int>(blockDim.x)) {
    int at = prefix[w];
    for (uint32_t bits = mask[w]; bits != 0 && at < room; bits &= bits - 1) ids[at++] = w * 32 + __ffs(static_cast<int>(bits)) - 1;
  }
  const int count = prefix[words];
  __syncthreads();
  return count;
}

}  // namespace nosa::cuda
