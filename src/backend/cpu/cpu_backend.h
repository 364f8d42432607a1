// The CPU backend: oneDNN for batched products, Highway for the rest, one thread pool.
#pragma once

#include <memory>

#include "base/parallel.h"
#include "ops/backend.h"

namespace nosa::cpu {

// `threads` 0 takes every processor the process may use.
std::unique_ptr<ops::Backend> MakeCpuBackend(int threads);

// Scratch memory of one pool thread, grown on demand and kept. Ops index it by the thread they run on.
class Scratch {
 public:
  // At least `bytes`, 64-byte aligned, contents unspecified; valid until the next call for the same thread.
  std::byte* Get(size_t bytes);
  template <typename T>
  T* Get(size_t count) {
    return reinterpret_cast<T*>(Get(count * sizeof(T)));
  }

 private:
  Buffer buffer_;
};

class BatchedProduct;

// What the ops of this room reach through the Backend they are handed.
struct CpuContext {
  ThreadPool* pool = nullptr;
  Scratch* scratch = nullptr;  // [pool->size()]
  Scratch* shared = nullptr;   // one more, for the caller before it forks
  BatchedProduct* batched_product = nullptr;
};
CpuContext& ContextOf(ops::Backend& backend);

#define NOSA_OP(name, Args) void name(ops::Backend& backend, ops::Stream stream, const ops::Args& args);
#include "ops/ops.def"
#undef NOSA_OP

}  // namespace nosa::cpu
