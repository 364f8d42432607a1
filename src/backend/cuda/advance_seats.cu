#include "ops/advance_seats.h"

#include "backend/cuda/context.h"

namespace nosa::cuda {
namespace {

__global__ void AdvanceSeats(int32_t* positions, int seats, int32_t* step) {
  for (int r = static_cast<int>(threadIdx.x); r < seats; r += static_cast<int>(blockDim.x)) {
    if (positions[r] >= 0) ++positions[r];
  }
  if (threadIdx.x == 0) ++*step;
}

}  // namespace

void advance_seats(ops::Backend& backend, ops::Stream stream, const ops::AdvanceSeatsArgs& args) {
  Context& context = ContextOf(backend);
  AdvanceSeats<<<1, 256, 0, context.stream(stream)>>>(args.positions, args.seats, args.step);
  NOSA_CUDA_LAUNCHED();
}

}  // namespace nosa::cuda
