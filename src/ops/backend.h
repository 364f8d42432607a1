// The device seam: memory, streams, copies and one table of ops. Rooms above compute through a Backend
// and never name a device.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "tensor/buffer.h"

namespace nosa {
class ThreadPool;
}

namespace nosa::ops {

#define NOSA_OP(name, Args) struct Args;
#include "ops/ops.def"
#undef NOSA_OP

// An ordered queue of work on a backend. Work on one stream runs in order; streams run side by side.
// The CPU backends have one, and work is done when the call returns.
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

// One caller thread at a time.
class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::string_view name() const = 0;  // the word of --backend
  virtual std::string Describe() const = 0;   // one line: instruction set or device, threads
  virtual const OpTable& table() const = 0;
  virtual int threads() const = 0;

  // Where tensors that ops read and write must lie.
  virtual MemoryKind compute_memory() const = 0;
  // Zeroed memory; kResourceExhausted with sizes when there is none.
  virtual Result<Buffer> Allocate(size_t bytes, MemoryKind kind) = 0;
  // Both ranges stay valid until the stream has passed this point.
  virtual void Copy(void* to, const void* from, size_t bytes, Stream stream) = 0;

  virtual Event Record(Stream stream) = 0;
  virtual bool Done(Event event) = 0;
  virtual void Wait(Event event) = 0;

  // Threads for host-side loops; never null on the CPU backends.
  virtual ThreadPool* pool() { return nullptr; }
};

}  // namespace nosa::ops
