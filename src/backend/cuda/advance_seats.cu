#include "ops/advance_seats.h"

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

__global__ void AdvanceSeats(int32_t* positions, int seats, int32_t* step) {
  LetNextStart();
  WaitForPrevious();
  for (int r = static_cast<int>(threadIdx.x); r < seats; r += static_cast<int>(blockDim.x)) {
    if (positions[r] >= 0) ++positions[r];
  }
  if (threadIdx.x == 0) ++*step;
}

}  // namespace

void advance_seats(ops::Backend& backend, ops::Stream stream, const ops::AdvanceSeatsArgs& args) {
  Context& context = ContextOf(backend);
  Launch(&AdvanceSeats, dim3(1), dim3(256), 0, context.stream(stream), args.positions, args.seats, args.step);
}

}  // namespace nosa::cuda
