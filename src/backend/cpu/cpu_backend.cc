#include "backend/cpu/cpu_backend.h"

#include <hwy/targets.h>

#include <vector>

#include "backend/cpu/batched_product.h"
#include "base/check.h"
#include "ops/host_backend.h"

namespace nosa::cpu {
namespace {

class CpuBackend final : public ops::HostBackend {
 public:
  explicit CpuBackend(int threads) : pool_(threads > 0 ? threads : AvailableProcessors()) {
    scratch_.resize(static_cast<size_t>(pool_.size()) + 1);
    context_ = {&pool_, scratch_.data(), &scratch_.back(), &batched_product_};
  }

  std::string_view name() const override { return "cpu"; }
  std::string Describe() const override {
    const int64_t targets = hwy::SupportedTargets();
    const int64_t best = targets & -targets;  // Highway numbers better targets lower
    return fmt::format("{}, {} thread{}", hwy::TargetName(best), pool_.size(), pool_.size() == 1 ? "" : "s");
  }
  int threads() const override { return pool_.size(); }
  ThreadPool* pool() override { return &pool_; }
  CpuContext& context() { return context_; }
  const ops::OpTable& table() const override {
    static constexpr ops::OpTable kTable = {
#define NOSA_OP(name, Args) .name = &cpu::name,
#include "ops/ops.def"
#undef NOSA_OP
    };
    return kTable;
  }

 private:
  ThreadPool pool_;
  std::vector<Scratch> scratch_;
  BatchedProduct batched_product_;
  CpuContext context_;
};

}  // namespace

std::byte* Scratch::Get(size_t bytes) {
  if (buffer_.size() < bytes) buffer_ = Buffer::Host(RoundUp(bytes + bytes / 2, 4096));
  return buffer_.data();
}

CpuContext& ContextOf(ops::Backend& backend) {
  NOSA_DCHECK(backend.name() == "cpu", "a CPU op was called through the {} backend", backend.name());
  return static_cast<CpuBackend&>(backend).context();
}

std::unique_ptr<ops::Backend> MakeCpuBackend(int threads) { return std::make_unique<CpuBackend>(threads); }

}  // namespace nosa::cpu
