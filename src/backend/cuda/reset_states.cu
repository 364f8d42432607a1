#include "ops/reset_states.h"

#include <cmath>

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

__global__ void ResetStates(ops::PartialStates states, int64_t heads, int64_t channels) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  if (i < channels) states.acc[i] = 0.0f;
  if (i < heads) {  // v_dim is at least 1, so there are as many threads
    states.m[i] = -INFINITY;
    states.l[i] = 0.0f;
  }
}

}  // namespace

void reset_states(ops::Backend& backend, ops::Stream stream, const ops::ResetStatesArgs& args) {
  const int64_t heads = args.states.count * args.states.heads, channels = heads * args.states.v_dim;
  if (channels == 0) return;
  constexpr int kThreads = 256;
  ResetStates<<<GridFor(channels, kThreads), kThreads, 0, ContextOf(backend).stream(stream)>>>(args.states, heads,
                                                                                               channels);
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
