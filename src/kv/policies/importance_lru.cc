// Least recently used step first; within one step the lowest importance, then the lowest slot.
//
// Time is counted in steps, not calls: all blocks that a step selects are used at once, so the order in which they are
// reported says nothing. What is known about those that were last used together is the selector's query-agnostic score:
// the higher, the likelier a later query selects the block again.
#include <cmath>
#include <limits>
#include <vector>

#include "base/check.h"
#include "kv/policy.h"

namespace nosa::kv {
namespace {

class ImportanceLruPolicy final : public EvictionPolicy {
 public:
  void Resize(int slots) override { slots_.resize(static_cast<size_t>(slots)); }
  void OnInsert(int slot, const UseHint& hint) override { Touch(slot, hint); }
  void OnUse(int slot, const UseHint& hint) override { Touch(slot, hint); }
  void OnRemove(int slot) override { slots_[static_cast<size_t>(slot)].occupied = false; }

  int Victim(FunctionRef<bool(int slot)> evictable) const override {
    const Slot* victim = nullptr;
    for (const Slot& slot : slots_) {
      if (!slot.occupied || (victim != nullptr && !Before(slot, *victim))) continue;
      if (evictable(static_cast<int>(&slot - slots_.data()))) victim = &slot;
    }
    return victim == nullptr ? -1 : static_cast<int>(victim - slots_.data());
  }

 private:
  struct Slot {
    uint64_t step = 0;
    float importance = 0;
    bool occupied = false;
  };

  static bool Before(const Slot& a, const Slot& b) {
    return a.step != b.step ? a.step < b.step : a.importance < b.importance;
  }

  void Touch(int slot, const UseHint& hint) {
    NOSA_DCHECK(static_cast<size_t>(slot) < slots_.size(), "slot {} of {}", slot, slots_.size());
    // NaN compares with nothing, which would make the victim depend on where it lies.
    const float importance = std::isnan(hint.importance) ? -std::numeric_limits<float>::infinity() : hint.importance;
    slots_[static_cast<size_t>(slot)] = {hint.step, importance, true};
  }

  std::vector<Slot> slots_;
};

}  // namespace

std::unique_ptr<EvictionPolicy> MakeImportanceLruPolicy() { return std::make_unique<ImportanceLruPolicy>(); }

}  // namespace nosa::kv
