// The slots of one lane (one layer and KV head) in the fastest tier, and which page each holds.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "base/function_ref.h"
#include "base/ids.h"
#include "kv/policy.h"
#include "kv/slot_arena.h"

namespace nosa::kv {

// Bookkeeping and memory; does no I/O. Not thread-safe. Slots are small integers, stable while occupied.
class LaneCache {
 public:
  struct Slot {
    PageId page;                // invalid: the slot is empty
    std::byte* data = nullptr;  // one frame
    int pins = 0;               // readers now; a pinned slot is never evicted
    bool loading = false;       // its bytes are still on the way
    uint64_t used_in = 0;       // newest step that used it
  };

  LaneCache(std::unique_ptr<EvictionPolicy> policy, SlotArena* arena) : policy_(std::move(policy)), arena_(arena) {}
  ~LaneCache();
  LaneCache(LaneCache&&) = default;

  // The most slots this lane may occupy. Lowering it evicts (never pinned or loading slots: there must be none)
  // and gives the frames back.
  void SetQuota(int slots);
  int quota() const { return quota_; }
  int occupied() const { return occupied_; }

  // -1 when the page has no slot. O(1).
  int Find(PageId page) const;
  const Slot& at(int slot) const { return slots_[static_cast<size_t>(slot)]; }

  // A slot for `page`, which has none: an empty one within the quota, else the policy's victim among the occupied,
  // unpinned, loaded slots for which evictable(slot) holds. -1 when there is neither. The bytes are unspecified.
  int Take(PageId page, const UseHint& hint, FunctionRef<bool(const Slot&)> evictable);
  void Use(int slot, const UseHint& hint);
  void Pin(int slot) { ++slots_[static_cast<size_t>(slot)].pins; }
  void Unpin(int slot) { --slots_[static_cast<size_t>(slot)].pins; }
  void SetLoading(int slot, bool loading) { slots_[static_cast<size_t>(slot)].loading = loading; }
  // Empties the slot; its frame stays with the lane for the next page.
  void Drop(int slot);
  // Drops the page if it is here. It must not be pinned or loading.
  void DropPage(PageId page);

 private:
  int EmptySlot();
  void Occupy(int slot, PageId page, const UseHint& hint);

  std::unique_ptr<EvictionPolicy> policy_;
  SlotArena* arena_;
  std::vector<Slot> slots_;
  std::vector<int> empty_;        // slots without a page
  std::vector<int32_t> slot_of_;  // by page; -1: none
  int quota_ = 0;
  int occupied_ = 0;
};

}  // namespace nosa::kv
