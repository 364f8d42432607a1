// A backend that runs out of memory: what a budget allows may still not be there.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "ops/host_backend.h"
#include "ops/reference/reference_backend.h"

namespace nosa::kv {

// Gives `left` more buffers, then kResourceExhausted. One thread.
class StingyBackend final : public ops::HostBackend {
 public:
  std::string_view name() const override { return "stingy"; }
  std::string Describe() const override { return "gives so many buffers and no more"; }
  const ops::OpTable& table() const override { return reference_->table(); }
  int threads() const override { return 1; }
  Result<Buffer> Allocate(size_t bytes, MemoryKind kind) override {
    if (left-- <= 0) return ResourceExhausted("no memory for {} bytes", bytes);
    return HostBackend::Allocate(bytes, kind);
  }
  int left = 1000;

 private:
  std::unique_ptr<ops::Backend> reference_ = ops::reference::MakeReferenceBackend();
};

}  // namespace nosa::kv
