// Reads and writes of a file that go on while the caller computes.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/status.h"

namespace nosa::io {

// What the caller wants done. `data` is borrowed from Submit until its completion is returned.
struct AsyncRequest {
  enum class Kind : uint8_t { kRead, kWrite };
  Kind kind = Kind::kRead;
  int fd = -1;
  uint64_t offset = 0;        // bytes from the start of the file
  std::byte* data = nullptr;  // read: filled; write: only read
  uint64_t bytes = 0;
  uint64_t tag = 0;  // the caller's own, returned with the completion
};

struct AsyncCompletion {
  uint64_t tag = 0;
  // kDataLoss when the file ended before `bytes`, kResourceExhausted when the disk is full, else kIo; never a
  // partial success.
  Status status;
};

enum class AsyncBackend : uint8_t {
  kAuto,     // io_uring if the kernel allows it, else threads
  kUring,    // io_uring or fail
  kThreads,  // pread/pwrite on threads of its own
};

// One queue of transfers. For one caller thread; implementations may use threads inside. Requests run in no
// particular order: what depends on another waits for its completion.
// Destroying it waits for what is in flight.
class AsyncIo {
 public:
  virtual ~AsyncIo() = default;

  // One line for people: "io_uring, depth 64" or "pread on 4 threads (io_uring refused: ...)".
  virtual std::string Describe() const = 0;

  // Queues requests, any number; short transfers are continued inside until whole. Never blocks on the
  // disk (it may wait for queue room, during which completions are collected for the next Poll).
  virtual void Submit(std::span<const AsyncRequest> requests) = 0;

  // Moves finished requests to `out`, in any order, at most out.size(); returns how many. With
  // `wait`, blocks until at least one is there (returns 0 at once if none is in flight).
  virtual size_t Poll(std::span<AsyncCompletion> out, bool wait) = 0;

  // Submitted and not yet returned by Poll.
  virtual size_t in_flight() const = 0;
};

struct AsyncIoOptions {
  AsyncBackend backend = AsyncBackend::kAuto;
  int depth = 64;   // io_uring entries, 1 to 2048
  int threads = 4;  // for kThreads: enough to keep a disk busy at 16 to 64 KiB reads (FACTS: depth 8 saturates)
};

// Fails with kFailedPrecondition when kUring is asked for and the kernel refuses it.
Result<std::unique_ptr<AsyncIo>> MakeAsyncIo(const AsyncIoOptions& options);

}  // namespace nosa::io
