// The one thread pool of a backend. Fork and join only: no task outlives the call that made it.
#pragma once

#include <cstdint>
#include <memory>

#include "base/function_ref.h"

namespace nosa {

class ThreadPool {
 public:
  // `threads` >= 1 counts the caller: a pool of 1 starts no thread.
  explicit ThreadPool(int threads);
  ~ThreadPool();
  ThreadPool(const ThreadPool&) = delete;
  ThreadPool& operator=(const ThreadPool&) = delete;

  int size() const;

  // Calls body(begin, end, thread) for disjoint ranges that cover [0, n), each at most `grain` long,
  // and returns when all have run. `thread` is in [0, size()) and no two calls with the same value
  // overlap, so it may index scratch memory. Ranges are handed out in order to whoever is free: which
  // thread runs which range is not fixed, so a body must not let it change a result.
  // n <= grain runs on the caller. Not reentrant and one caller at a time: breaking either ends the program,
  // also in a pool of 1, so that it is found on any machine. The body must not throw.
  void ParallelFor(int64_t n, int64_t grain, FunctionRef<void(int64_t begin, int64_t end, int thread)> body);

  // Calls body(thread) once on every thread of the pool, all at the same time. Same rules.
  void RunOnAll(FunctionRef<void(int thread)> body);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Processors this process may use: its affinity mask, and the quota of its container. At least 1.
int AvailableProcessors();

}  // namespace nosa
