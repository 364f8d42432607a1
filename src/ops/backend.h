// The device seam: memory, streams, copies and one table of ops. Rooms above compute through a Backend
// and never name a device.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "base/check.h"
#include "base/status.h"
#include "tensor/buffer.h"

namespace nosa {
class ThreadPool;
}

namespace nosa::ops {

#define NOSA_OP(name, Args) struct Args;
#include "ops/ops.def"
#undef NOSA_OP

// An ordered queue of work on a backend. Work on one stream runs in order; streams run side by side. Every backend has
// kStreams of them. On the CPU backends they are one, and work is done when the call returns.
inline constexpr int kStreams = 4;
struct Stream {
  int32_t index = 0;
};

// A point in a stream's work.
struct Event {
  uint64_t value = 0;
};

class Backend;

// What a backend can compute. Every entry is filled.
struct OpTable {
#define NOSA_OP(name, Args) void (*name)(Backend&, Stream, const Args&) = nullptr;
#include "ops/ops.def"
#undef NOSA_OP
};

// What one call moves and computes, for rooflines: bytes read and written once each, at their stored size.
struct OpCost {
  double bytes = 0;
  double flops = 0;
};

// Work recorded once and run again as a whole, without the host. Addresses and sizes are those of the recording.
class Graph {
 public:
  virtual ~Graph() = default;
};

// One caller thread at a time.
//
// Memory. What an op writes, the tensors it reads and the addresses inside its plans lie where the backend can address
// them: compute_memory() or shared_memory(). Spans of constants (the plans themselves) may also lie anywhere on the
// host: the op has read them when it returns. While a graph is recorded they must lie in memory the backend addresses,
// where each run reads them anew. The host reads results after Wait.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;  // the word of --backend
  virtual std::string Describe() const = 0;   // one line: instruction set or device, threads
  virtual const OpTable& table() const = 0;
  virtual int threads() const = 0;

  // Where tensors are fastest to reach for ops.
  virtual MemoryKind compute_memory() const = 0;
  // What ops and the host can both address.
  virtual MemoryKind shared_memory() const = 0;
  // Zeroed memory; kResourceExhausted with sizes when there is none.
  virtual Result<Buffer> Allocate(size_t bytes, MemoryKind kind) = 0;
  // Bytes of that kind that may still be allocated; not known: the largest number.
  virtual uint64_t Available(MemoryKind) const { return UINT64_MAX; }
  // Any two kinds of memory; both ranges stay valid until the stream has passed this point.
  virtual void Copy(void* to, const void* from, size_t bytes, Stream stream) = 0;

  virtual Event Record(Stream stream) = 0;
  virtual bool Done(Event event) = 0;
  virtual void Wait(Event event) = 0;
  // Work given to `stream` from now on starts after `event`.
  virtual void WaitOn(Stream stream, Event event) = 0;
  void Synchronize(Stream stream) { Wait(Record(stream)); }

  // Whether calls can be recorded. Where not, callers make them again each time, which computes the same.
  virtual bool records_graphs() const { return false; }
  // From here to EndGraph, calls on `stream`, and on streams that wait for its events, are recorded and not run. All of
  // them must have been waited for by `stream` at the end.
  virtual void BeginGraph(Stream) {}
  virtual Result<std::unique_ptr<Graph>> EndGraph(Stream) { return Unimplemented("{} records no graphs", name()); }
  virtual void Run(Graph&, Stream) {}

  // After each op was given to `stream`: where a backend that is asked to can wait, so that errors show where they were
  // made.
  virtual void AfterOp(std::string_view, Stream) {}

  // The device's own name of a stream (a cudaStream_t), for a library that shares the device; null on the host.
  virtual void* native_stream(Stream) { return nullptr; }

  // Threads for host-side loops; never null on the CPU backends.
  virtual ThreadPool* pool() { return nullptr; }
};

// Makes `buffer` at least `bytes` long; what it held is lost when it grows. For intermediate results, which callers
// size before they admit work: ends the program when there is no memory.
inline void Grow(Backend& backend, size_t bytes, MemoryKind kind, Buffer* buffer) {
  if (buffer->size() >= bytes) return;
  Result<Buffer> grown = backend.Allocate(bytes, kind);
  NOSA_CHECK(grown.ok(), "{}", grown.status().ToString());
  *buffer = std::move(grown).value();
}

}  // namespace nosa::ops
