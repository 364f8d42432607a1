// What the ops of this room reach through the Backend they are handed. For .cu files of this room only.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <span>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "ops/backend.h"

namespace nosa::cuda {

// Ends the program: after one of these the device's state is unknown, and no request can survive it.
#define NOSA_CUDA_CHECK(call)                                                                                \
  do {                                                                                                       \
    const cudaError_t nosa_cuda_error = (call);                                                              \
    NOSA_CHECK(nosa_cuda_error == cudaSuccess, "CUDA: {} ({})", cudaGetErrorString(nosa_cuda_error), #call); \
  } while (false)

// After every launch.
#define NOSA_CUDA_LAUNCHED() NOSA_CUDA_CHECK(cudaGetLastError())

class BatchedProduct;

class Context {
 public:
  virtual ~Context() = default;

  virtual cudaStream_t stream(ops::Stream stream) = 0;
  virtual int multiprocessors() const = 0;

  // The elements of a plan where kernels of `stream` can read them, until the stream has passed what is launched next:
  // `items` itself when it lies in memory the device addresses, else a copy of it (not while a graph is recorded).
  template <typename T>
  const T* Stage(std::span<const T> items, ops::Stream stream) {
    static_assert(std::is_trivially_copyable_v<T>);
    return items.empty() ? nullptr : static_cast<const T*>(StageBytes(items.data(), items.size_bytes(), stream));
  }

  // At least `bytes` of device memory, 256-byte aligned, contents unspecified; shared by the ops of a stream, so valid
  // only for the launches of the op that asked. One per op call. While a graph is recorded it must not grow: the first,
  // unrecorded, run of the same calls has grown it.
  virtual void* Scratch(size_t bytes, ops::Stream stream) = 0;

  // At least `count` numbers that are 0, by which the CTAs of a kernel find each other; as Scratch, but who changes
  // them makes them 0 again before its kernel ends.
  virtual int32_t* Counters(size_t count, ops::Stream stream) = 0;

  virtual cublasLtHandle_t cublas() = 0;
  // Work space for cuBLAS on that stream.
  virtual void* cublas_workspace(ops::Stream stream) = 0;
  virtual size_t cublas_workspace_bytes() const = 0;
  // What cuBLAS has chosen for the shapes seen so far.
  virtual BatchedProduct& batched_product() = 0;

 protected:
  virtual const void* StageBytes(const void* data, size_t bytes, ops::Stream stream) = 0;
};

// Compute capability 9.0: kernels can start before the ones before them have ended, and CTAs form clusters.
inline bool HasHopperLaunches() {
  static const bool has = [] {
    int device = 0, major = 0;
    NOSA_CUDA_CHECK(cudaGetDevice(&device));
    NOSA_CUDA_CHECK(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device));
    return major >= 9;
  }();
  return has;
}

// Launches a kernel that calls WaitForPrevious (device.cuh) before it touches what other kernels write or read: its
// blocks may be there before the kernel before it has ended, which saves the time from one to the next. Before it waits
// it may read weights and what earlier steps have left (positions, summaries, slots), nothing that this step writes:
// embed, the first op of a step, is launched plainly, and by then all of the step before has ended.
//
// LaunchClusters: `cluster` CTAs, neighbours in x, share their shared memory. Only where HasHopperLaunches.
template <typename... Params, typename... Args>
void LaunchClusters(void (*kernel)(Params...), dim3 grid, unsigned cluster, dim3 block, size_t shared,
                    cudaStream_t stream, Args&&... args) {
  cudaLaunchAttribute attributes[2] = {};
  attributes[0].id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attributes[0].val.programmaticStreamSerializationAllowed = 1;
  attributes[1].id = cudaLaunchAttributeClusterDimension;
  attributes[1].val.clusterDim.x = cluster;
  attributes[1].val.clusterDim.y = attributes[1].val.clusterDim.z = 1;
  cudaLaunchConfig_t config = {};
  config.gridDim = grid;
  config.blockDim = block;
  config.dynamicSmemBytes = shared;
  config.stream = stream;
  config.attrs = attributes;
  config.numAttrs = !HasHopperLaunches() ? 0 : cluster > 1 ? 2 : 1;
  NOSA_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, std::forward<Args>(args)...));
}
template <typename... Params, typename... Args>
void Launch(void (*kernel)(Params...), dim3 grid, dim3 block, size_t shared, cudaStream_t stream, Args&&... args) {
  LaunchClusters(kernel, grid, 1, block, shared, stream, std::forward<Args>(args)...);
}

// Lets a kernel take `bytes` of dynamic shared memory, and several of its CTAs share a multiprocessor. Ends the program
// when a multiprocessor has less.
inline void AllowShared(const void* kernel, size_t bytes) {
  constexpr size_t kAlways = 16 << 10;
  if (bytes <= kAlways) return;
  NOSA_CUDA_CHECK(
      cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout, cudaSharedmemCarveoutMaxShared));
  NOSA_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(bytes)));
}

// `backend` is the CUDA backend.
Context& ContextOf(ops::Backend& backend);

// One entry of the op table each, in <name>.cu.
#define NOSA_OP(name, Args) void name(ops::Backend& backend, ops::Stream stream, const ops::Args& args);
#include "ops/ops.def"
#undef NOSA_OP

}  // namespace nosa::cuda
