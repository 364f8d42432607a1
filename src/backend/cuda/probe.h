// What this GPU and the way to it can do at most, measured: the other side of every share of the roofline. Names no
// CUDA header.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "base/status.h"
#include "ops/backend.h"

namespace nosa::cuda {

// What one run moves (bytes) or does (launches), and the seconds of each run by the device's clock, unless said
// otherwise. A first run is not among them.
struct Measured {
  double amount = 0;
  std::vector<double> seconds;
};

// "CUDA 13.0, driver for CUDA 13.0".
std::string Versions();

// How host memory gets pinned: as Backend::Allocate does it, or by cudaHostAlloc.
enum class Pinning : uint8_t { kAllocate, kHostAlloc };
// Takes `bytes` of pinned memory and gives them back, `repeats` times; bytes, and seconds of the taking by the host's
// clock. There is no run before: what counts is how long who starts the program waits. kResourceExhausted when the
// system has no such memory.
Result<Measured> MeasurePinning(ops::Backend& backend, Pinning how, size_t bytes, int repeats);

enum class Direction : uint8_t { kToDevice, kFromDevice, kBoth };

// A product of one decode step, on bf16 weights [n, k].
struct ProductShape {
  int64_t m = 0, n = 0, k = 0;
  bool rowwise = true;  // what decode runs; false: cuBLAS, for comparison
};

// The probe of one backend, which must be the CUDA backend, outlives it and computes nothing else meanwhile. Holds
// kPoolBytes of pinned memory and kDeviceBytes of the device's, full of random words. What is timed has been validated:
// kInternal names what came out wrong. kResourceExhausted: no memory for it.
class TransferProbe {
 public:
  // In larger memory than any cache or TLB keeps.
  static constexpr size_t kPoolBytes = size_t{2} << 30;
  static constexpr size_t kDeviceBytes = size_t{1} << 30;
  // Moved by a run of copies.
  static constexpr size_t kRunBytes = size_t{256} << 20;

  // `repeats`: runs that count, of every measurement.
  static Result<std::unique_ptr<TransferProbe>> Create(ops::Backend& backend, int repeats);
  virtual ~TransferProbe() = default;

  // Bytes read plus bytes written.
  virtual Result<Measured> DeviceCopy() = 0;
  // Copies of `bytes` (at most kRunBytes), one behind the other; kHost or kPinned memory. kBoth: two streams, each with
  // a thread of its own to issue them, as copies of pageable memory keep the caller; bytes of both.
  virtual Result<Measured> EngineCopy(Direction direction, MemoryKind host, size_t bytes) = 0;
  // ops::copy_blocks from random places of the pool: one result for each number of workers.
  virtual Result<std::vector<Measured>> Gather(size_t block_bytes, std::span<const int> workers) = 0;
  // The same blocks, by one copy command each.
  virtual Result<Measured> CopyEach(size_t block_bytes) = 0;
  // The same, by one batched command. kUnimplemented before CUDA 12.8.
  virtual Result<Measured> CopyBatch(size_t block_bytes) = 0;

  // Weights of that shape one after the other, each time others than the caches may hold; bytes of weights.
  virtual Result<Measured> Products(const ProductShape& shape) = 0;
  // A gather of blocks on one stream, products on another: each alone, and both.
  struct Overlap {
    Measured gather, products;
    Measured together;  // both are done
  };
  virtual Result<Overlap> GatherBesideProducts(size_t block_bytes, int workers, const ProductShape& shape) = 0;

  // Launches of an empty kernel, each after the one before: recorded as a graph of `launches`, or given one by one.
  virtual Result<Measured> EmptyLaunches(int launches, bool graph) = 0;
};

}  // namespace nosa::cuda
