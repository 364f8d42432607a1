// The CUDA backend: cuBLASLt for products, own kernels for the rest. Names no CUDA header, so that any room that links
// it may include it.
#pragma once

#include <cstdint>
#include <memory>

#include "base/status.h"
#include "ops/backend.h"

namespace nosa::cuda {

struct CudaOptions {
  int device = 0;
  // Hard bound of everything this backend takes of the device's memory, the driver's own part of the process
  // included; 0: what the device has.
  uint64_t memory_limit_bytes = 0;
  // Most host memory to pin, for tests of what happens where the system allows no more; 0: no bound.
  uint64_t pinned_limit_bytes = 0;
  // Every op waits until it is done: errors show where they were made. For tests and debugging.
  bool blocking = false;
};

// kFailedPrecondition says why there is no usable device: no driver, no GPU, or one below compute capability 8.0.
Result<std::unique_ptr<ops::Backend>> MakeCudaBackend(const CudaOptions& options);

// What the backend holds of the device now, and its bound.
struct DeviceMemory {
  uint64_t used_bytes = 0;
  uint64_t peak_bytes = 0;
  uint64_t limit_bytes = 0;
  uint64_t driver_bytes = 0;  // of used: taken by the driver for this process
};
DeviceMemory MemoryOf(ops::Backend& backend);

}  // namespace nosa::cuda
