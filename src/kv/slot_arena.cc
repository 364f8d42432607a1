#include "kv/slot_arena.h"

#include "base/check.h"

namespace nosa::kv {

SlotArena::~SlotArena() { budget_->Release(in_use_ * frame_bytes_); }

std::byte* SlotArena::Allocate() {
  if (!budget_->TryCharge(frame_bytes_)) return nullptr;
  if (free_.empty()) {
    // Slabs are large enough to be mapped: their pages take memory only once a frame is used, so a slab that
    // is half in use costs half.
    constexpr size_t kSlabBytes = 4 << 20;
    const size_t frames = std::max<size_t>(1, kSlabBytes / frame_bytes_);
    Result<Buffer> slab = backend_->Allocate(frames * frame_bytes_, backend_->compute_memory());
    NOSA_CHECK(slab.ok(), "{}", slab.status().ToString());
    for (size_t i = frames; i-- > 0;) free_.push_back(slab->data() + i * frame_bytes_);
    slabs_.push_back(std::move(slab).value());
  }
  std::byte* frame = free_.back();
  free_.pop_back();
  ++in_use_;
  return frame;
}

void SlotArena::Free(std::byte* frame) {
  if (backend_->compute_memory() == MemoryKind::kHost) DiscardHostPages({frame, frame_bytes_});
  free_.push_back(frame);
  --in_use_;
  budget_->Release(frame_bytes_);
}

}  // namespace nosa::kv
