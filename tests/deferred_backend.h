// A stand-in for a device where there is none: the CPU's ops, run late and on memory the host cannot touch. A caller
// that reads results before it waited finds old ones, one that reuses memory too early spoils an op's input, and one
// that looks into compute memory ends with a fault. What comes out must still be the CPU's bits.
#pragma once

#include <sys/mman.h>

#include <cstring>
#include <functional>
#include <map>
#include <memory>
#include <utility>
#include <vector>

#include "backend/cpu/cpu_backend.h"
#include "ops/advance_seats.h"
#include "ops/append_token.h"
#include "ops/assign_slots.h"
#include "ops/block_attention.h"
#include "ops/block_scores.h"
#include "ops/copy_blocks.h"
#include "ops/draw_tokens.h"
#include "ops/embed.h"
#include "ops/importance.h"
#include "ops/merge_states.h"
#include "ops/pool_windows.h"
#include "ops/product.h"
#include "ops/reset_states.h"
#include "ops/rms_norm.h"
#include "ops/rope.h"
#include "ops/seat_attention.h"
#include "ops/select_blocks.h"
#include "ops/sequence_attention_grad.h"
#include "ops/sequence_select.h"
#include "ops/store_kv.h"
#include "ops/swiglu.h"
#include "ops/topk_blocks.h"
#include "ops/window_scores.h"

namespace nosa {

// An op has read its plans when it returns, so they are kept for later. One overload for each op that has some.
class KeptPlans {
 public:
  explicit KeptPlans(ConstBytes device) : device_(device) {}
  template <typename Args>
  void Keep(Args&) {}
  void Keep(ops::EmbedArgs& a) { Own(a.ids); }
  void Keep(ops::ProductArgs& a) { Own(a.terms); }
  void Keep(ops::RopeArgs& a) { Own(a.positions), Own(a.inv_freq); }
  void Keep(ops::StoreKvArgs& a) { Own(a.rows); }
  void Keep(ops::PoolWindowsArgs& a) { Own(a.segments), Own(a.rows), Own(a.states); }
  void Keep(ops::WindowScoresArgs& a) { Own(a.rows), Own(a.states); }
  void Keep(ops::BlockScoresArgs& a) { Own(a.rows); }
  void Keep(ops::TopkBlocksArgs& a) { Own(a.rows); }
  void Keep(ops::BlockAttentionArgs& a) { Own(a.positions), Own(a.tiles), Own(a.refs), Own(a.groups), Own(a.masks); }
  void Keep(ops::MergeStatesArgs& a) { Own(a.offsets), Own(a.order); }
  void Keep(ops::AppendTokenArgs& a) { Own(a.positions), Own(a.states); }
  void Keep(ops::SelectBlocksArgs& a) { Own(a.positions), Own(a.states); }
  void Keep(ops::AssignSlotsArgs& a) { Own(a.positions); }
  void Keep(ops::DrawTokensArgs& a) { Own(a.params), Own(a.positions); }
  void Keep(ops::SeatAttentionArgs& a) { Own(a.positions); }

 private:
  template <typename T>
  void Own(std::span<const T>& span) {
    const auto* data = reinterpret_cast<const std::byte*>(span.data());
    if (data >= device_.data() && data < device_.data() + device_.size()) return;  // read when it runs, as on a device
    auto copy = std::make_shared<std::vector<T>>(span.begin(), span.end());
    span = *copy;
    kept_.push_back(std::move(copy));
  }
  ConstBytes device_;
  std::vector<std::shared_ptr<void>> kept_;
};

// For one caller thread, as every backend.
class DeferredBackend final : public ops::Backend {
 public:
  explicit DeferredBackend(int threads) : cpu_(cpu::MakeCpuBackend(threads)) {
    void* base = mmap(nullptr, kDeviceBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    NOSA_CHECK(base != MAP_FAILED, "no address space");
    device_ = static_cast<std::byte*>(base);
  }
  ~DeferredBackend() override {
    Flush();
    munmap(device_, kDeviceBytes);
  }

  std::string_view name() const override { return "deferred"; }
  std::string Describe() const override { return "a device that is not there"; }
  int threads() const override { return 8 * cpu_->threads(); }
  MemoryKind compute_memory() const override { return MemoryKind::kDevice; }
  MemoryKind shared_memory() const override { return MemoryKind::kPinned; }
  const ops::OpTable& table() const override {
    static constexpr ops::OpTable kTable = {
#define NOSA_OP(op, Args)                                                                   \
  .op = [](ops::Backend& backend, ops::Stream stream, const ops::Args& args) {              \
    static_cast<DeferredBackend&>(backend).Defer(                                           \
        args, [stream](auto& cpu, const ops::Args& a) { cpu.table().op(cpu, stream, a); }); \
  },
#include "ops/ops.def"
#undef NOSA_OP
    };
    return kTable;
  }

  Result<Buffer> Allocate(size_t bytes, MemoryKind kind) override {
    if (bytes == 0) return Buffer();
    if (kind == MemoryKind::kHost) return Buffer::Host(bytes, 4096);
    if (kind == MemoryKind::kPinned) {
      if (std::exchange(refuses_pinned_, false)) return ResourceExhausted("no more memory can be pinned");
      pinned_.push_back(Buffer::Host(bytes, 4096));
      return Buffer(pinned_.back().data(), bytes, MemoryKind::kPinned, FreePinned, this);
    }
    const size_t size = RoundUp(bytes, 4096);
    std::byte* data = nullptr;
    if (auto free = free_.lower_bound(size); free != free_.end() && free->first == size) {
      data = free->second;
      free_.erase(free);
    } else {
      if (used_ + size > kDeviceBytes) return ResourceExhausted("the device has no {} left", FormatByteSize(size));
      data = device_ + used_;
      used_ += size;
    }
    Defer([data, size] { std::memset(data, 0, size); });
    device_bytes_ += size;
    return Buffer(data, bytes, MemoryKind::kDevice, FreeDevice, this);
  }
  void Copy(void* to, const void* from, size_t bytes, ops::Stream) override {
    Defer([=] { std::memcpy(to, from, bytes); });
  }
  ops::Event Record(ops::Stream) override { return {++events_}; }
  bool Done(ops::Event event) override { return event.value <= reached_; }
  void Wait(ops::Event event) override {
    if (!Done(event)) Flush();
  }
  void WaitOn(ops::Stream, ops::Event) override {}
  // The next time that pinned memory is asked for, there is none.
  void RefusePinnedOnce() { refuses_pinned_ = true; }
  // Of device memory that is allocated now.
  uint64_t device_bytes() const { return device_bytes_; }

 private:
  static constexpr size_t kDeviceBytes = size_t{4} << 30;

  // Freeing waits, as a driver does.
  static void FreePinned(void* data, size_t, void* context) {
    auto* self = static_cast<DeferredBackend*>(context);
    self->Flush();
    std::erase_if(self->pinned_, [&](const Buffer& buffer) { return buffer.data() == data; });
  }
  static void FreeDevice(void* data, size_t bytes, void* context) {
    auto* self = static_cast<DeferredBackend*>(context);
    self->Flush();
    self->device_bytes_ -= RoundUp(bytes, 4096);
    self->free_.emplace(RoundUp(bytes, 4096), static_cast<std::byte*>(data));
  }

  void Defer(std::function<void()> work) { queue_.push_back(std::move(work)); }
  template <typename Args, typename Run>
  void Defer(const Args& args, Run run) {
    auto kept = std::make_shared<std::pair<Args, KeptPlans>>(args, KeptPlans({device_, kDeviceBytes}));
    kept->second.Keep(kept->first);
    Defer([this, kept, run] { run(*cpu_, kept->first); });
  }
  void Flush() {
    reached_ = events_;
    if (queue_.empty()) return;
    Protect(PROT_READ | PROT_WRITE);
    for (const std::function<void()>& work : queue_) work();
    queue_.clear();
    // Changing the protection costs milliseconds. Whoever looks into this memory does so at every layer and token, and
    // a prime number of flushes falls on each place of a layer in turn.
    constexpr uint64_t kUnprotectedFlushes = 13;
    if (++flushes_ % kUnprotectedFlushes == 0) Protect(PROT_NONE);
  }
  void Protect(int protection) {
    if (protection == protection_) return;
    NOSA_CHECK(mprotect(device_, kDeviceBytes, protection) == 0, "mprotect");
    protection_ = protection;
  }

  std::unique_ptr<ops::Backend> cpu_;
  std::byte* device_ = nullptr;
  size_t used_ = 0;
  uint64_t device_bytes_ = 0;
  int protection_ = PROT_NONE;
  std::multimap<size_t, std::byte*> free_;
  std::vector<Buffer> pinned_;
  bool refuses_pinned_ = false;
  std::vector<std::function<void()>> queue_;
  uint64_t events_ = 0, reached_ = 0, flushes_ = 0;
};

}  // namespace nosa
