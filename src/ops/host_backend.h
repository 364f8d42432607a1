// What every backend that computes in host memory has in common: allocation, copies, streams that are done at once.
#pragma once

#include <cstring>

#include "ops/backend.h"

namespace nosa::ops {

class HostBackend : public Backend {
 public:
  MemoryKind compute_memory() const override { return MemoryKind::kHost; }
  MemoryKind shared_memory() const override { return MemoryKind::kHost; }
  Result<Buffer> Allocate(size_t bytes, MemoryKind kind) override {
    if (kind == MemoryKind::kDevice) return FailedPrecondition("the {} backend has no device memory", name());
    return Buffer::Host(bytes, 4096);
  }
  void Copy(void* to, const void* from, size_t bytes, Stream) override { std::memcpy(to, from, bytes); }
  Event Record(Stream) override { return Event(); }
  bool Done(Event) override { return true; }
  void Wait(Event) override {}
  void WaitOn(Stream, Event) override {}
};

}  // namespace nosa::ops
