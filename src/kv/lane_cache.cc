#include "kv/lane_cache.h"

#include "base/check.h"

namespace nosa::kv {

LaneCache::~LaneCache() {
  for (Slot& slot : slots_) {
    if (slot.data != nullptr) arena_->Free(slot.data);
  }
}

int LaneCache::Find(PageId page) const {
  const size_t i = static_cast<size_t>(page.value);
  return i < slot_of_.size() ? slot_of_[i] : -1;
}

void LaneCache::SetQuota(int quota) {
  quota_ = quota;
  while (occupied_ > quota_) {
    const int victim = policy_->Victim([&](int s) { return at(s).pins == 0 && !at(s).loading; });
    NOSA_CHECK(victim >= 0, "a quota of {} slots was set while {} are in use", quota, occupied_);
    Drop(victim);
  }
  // Frames beyond the quota go back, so that whoever took the budget can have them.
  int frames = 0;
  for (const Slot& slot : slots_) frames += slot.data != nullptr;
  for (Slot& slot : slots_) {
    if (frames <= quota_) break;
    if (slot.page.valid() || slot.data == nullptr) continue;
    arena_->Free(slot.data);
    slot.data = nullptr;
    --frames;
  }
}

int LaneCache::EmptySlot() {
  if (occupied_ >= quota_) return -1;
  // A slot that has its frame costs nothing; one without asks the budget.
  for (size_t i = empty_.size(); i-- > 0;) {
    const int slot = empty_[i];
    if (slots_[static_cast<size_t>(slot)].data == nullptr) continue;
    empty_.erase(empty_.begin() + static_cast<std::ptrdiff_t>(i));
    return slot;
  }
  std::byte* frame = arena_->Allocate();
  if (frame == nullptr) return -1;
  if (empty_.empty()) {
    slots_.emplace_back();
    empty_.push_back(static_cast<int>(slots_.size()) - 1);
    policy_->Resize(static_cast<int>(slots_.size()));
  }
  const int slot = empty_.back();
  empty_.pop_back();
  slots_[static_cast<size_t>(slot)].data = frame;
  return slot;
}

void LaneCache::Occupy(int slot, PageId page, const UseHint& hint) {
  Slot& s = slots_[static_cast<size_t>(slot)];
  s.page = page;
  s.pins = 0;
  s.loading = false;
  s.used_in = hint.step;
  const size_t i = static_cast<size_t>(page.value);
  if (i >= slot_of_.size()) slot_of_.resize(i + i / 2 + 16, -1);
  slot_of_[i] = slot;
  ++occupied_;
  policy_->OnInsert(slot, hint);
}

int LaneCache::Take(PageId page, const UseHint& hint, FunctionRef<bool(const Slot&)> evictable) {
  NOSA_DCHECK(Find(page) < 0, "page {} already has a slot", page.value);
  int slot = EmptySlot();
  if (slot < 0) {
    slot = policy_->Victim([&](int s) { return at(s).pins == 0 && !at(s).loading && evictable(at(s)); });
    if (slot < 0) return -1;
    Drop(slot);
    empty_.pop_back();
  }
  Occupy(slot, page, hint);
  return slot;
}

void LaneCache::Use(int slot, const UseHint& hint) {
  slots_[static_cast<size_t>(slot)].used_in = hint.step;
  policy_->OnUse(slot, hint);
}

void LaneCache::Drop(int slot) {
  Slot& s = slots_[static_cast<size_t>(slot)];
  NOSA_CHECK(s.page.valid() && s.pins == 0 && !s.loading, "slot {} of page {} is dropped while in use", slot,
             s.page.value);
  slot_of_[static_cast<size_t>(s.page.value)] = -1;
  s.page = PageId();
  --occupied_;
  empty_.push_back(slot);
  policy_->OnRemove(slot);
}

void LaneCache::DropPage(PageId page) {
  const int slot = Find(page);
  if (slot >= 0) Drop(slot);
}

}  // namespace nosa::kv
