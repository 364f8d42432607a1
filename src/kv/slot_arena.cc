#include "kv/slot_arena.h"

#include <algorithm>

#include "base/check.h"

namespace nosa::kv {

SlotArena::~SlotArena() { budget_->Release(in_use_ * frame_bytes_); }

Status SlotArena::AddSlab(size_t frames) {
  NOSA_ASSIGN_OR_RETURN(Buffer slab, backend_->Allocate(frames * frame_bytes_, backend_->shared_memory()));
  for (size_t i = slab.size() / frame_bytes_; i-- > 0;) free_.push_back(slab.data() + i * frame_bytes_);
  slabs_.push_back(std::move(slab));
  return Status::Ok();
}

Status SlotArena::Reserve(size_t frames, const PinningProgress& progress) {
  // Some tens of milliseconds of work: often enough to be told of.
  constexpr size_t kPieceBytes = size_t{1} << 30;
  const size_t have = in_use_ + free_.size(), missing = frames - std::min(frames, have);
  const size_t piece = std::max<size_t>(1, kPieceBytes / frame_bytes_);
  for (size_t done = 0; done < missing;) {
    if (progress) progress(done * frame_bytes_, missing * frame_bytes_);
    const size_t now = std::min(piece, missing - done);
    NOSA_RETURN_IF_ERROR(AddSlab(now));
    done += now;
    if (progress) progress(done * frame_bytes_, missing * frame_bytes_);
  }
  return Status::Ok();
}

std::byte* SlotArena::Allocate() {
  if (!budget_->TryCharge(frame_bytes_)) return nullptr;
  if (free_.empty()) {
    const Status added = AddSlab(FramesOfNextSlab());
    NOSA_CHECK(added.ok(), "{}", added.ToString());
  }
  std::byte* frame = free_.back();
  free_.pop_back();
  ++in_use_;
  return frame;
}

size_t SlotArena::FramesOfNextSlab() const {
  // Pageable slabs are large enough to be mapped: their pages take memory only once a frame is used, so a slab that is
  // half in use costs half.
  constexpr size_t kPageableSlabBytes = 4 << 20;
  if (backend_->shared_memory() == MemoryKind::kHost) return std::max<size_t>(1, kPageableSlabBytes / frame_bytes_);
  // Pinned memory is taken at once, and pinning it costs a call to the driver: large slabs, but no larger than what the
  // budget has left (one frame of it is charged already).
  constexpr size_t kPinnedSlabBytes = 32 << 20;
  const uint64_t left = budget_->left() / frame_bytes_;
  return std::max<size_t>(1, static_cast<size_t>(std::min<uint64_t>(left + 1, kPinnedSlabBytes / frame_bytes_)));
}

void SlotArena::Free(std::byte* frame) {
  if (backend_->shared_memory() == MemoryKind::kHost) DiscardHostPages({frame, frame_bytes_});
  free_.push_back(frame);
  --in_use_;
  budget_->Release(frame_bytes_);
}

}  // namespace nosa::kv
