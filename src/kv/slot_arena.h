// Memory for blocks in the fastest tier: equal frames cut from slabs, charged to the budget while in use.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "kv/host_budget.h"
#include "ops/backend.h"
#include "tensor/buffer.h"

namespace nosa::kv {

// Bytes of memory that were pinned so far, and of all.
using PinningProgress = std::function<void(uint64_t done, uint64_t total)>;

// Not thread-safe. Frames are the backend's shared memory: a device reads them, the host and disks write them.
class SlotArena {
 public:
  // `budget` and `backend` outlive the arena. frame_bytes: a multiple of the tier's alignment.
  SlotArena(size_t frame_bytes, HostBudget* budget, ops::Backend* backend)
      : frame_bytes_(frame_bytes), budget_(budget), backend_(backend) {}
  ~SlotArena();
  SlotArena(const SlotArena&) = delete;
  SlotArena& operator=(const SlotArena&) = delete;

  // Memory for `frames` in all, those in use included, is there when this returns. It is not charged before it is used.
  // `progress`, when set, is told after each large piece.
  Status Reserve(size_t frames, const PinningProgress& progress = nullptr);
  // nullptr when the budget has no room for one more frame.
  std::byte* Allocate();
  // The frame's memory goes back to the system, so that whoever is given its budget can have it (pinned memory stays
  // with the arena).
  void Free(std::byte* frame);
  size_t frame_bytes() const { return frame_bytes_; }

 private:
  size_t FramesOfNextSlab() const;
  Status AddSlab(size_t frames);

  size_t frame_bytes_;
  HostBudget* budget_;
  ops::Backend* backend_;
  std::vector<Buffer> slabs_;
  std::vector<std::byte*> free_;
  size_t in_use_ = 0;
};

}  // namespace nosa::kv
