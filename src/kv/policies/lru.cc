// The slot that was used longest ago, by the order of calls alone.
#include <vector>

#include "base/check.h"
#include "kv/policy.h"

namespace nosa::kv {
namespace {

class LruPolicy final : public EvictionPolicy {
 public:
  void Resize(int slots) override { last_use_.resize(static_cast<size_t>(slots), kEmpty); }
  void OnInsert(int slot, const UseHint& hint) override { Touch(slot); }
  void OnUse(int slot, const UseHint& hint) override { Touch(slot); }
  void OnRemove(int slot) override { last_use_[static_cast<size_t>(slot)] = kEmpty; }

  int Victim(FunctionRef<bool(int slot)> evictable) const override {
    int victim = -1;
    uint64_t oldest = ~uint64_t{0};
    for (size_t i = 0; i < last_use_.size(); ++i) {
      if (last_use_[i] == kEmpty || last_use_[i] >= oldest || !evictable(static_cast<int>(i))) continue;
      victim = static_cast<int>(i);
      oldest = last_use_[i];
    }
    return victim;
  }

 private:
  static constexpr uint64_t kEmpty = 0;

  void Touch(int slot) {
    NOSA_DCHECK(static_cast<size_t>(slot) < last_use_.size(), "slot {} of {}", slot, last_use_.size());
    last_use_[static_cast<size_t>(slot)] = ++calls_;
  }

  uint64_t calls_ = kEmpty;
  std::vector<uint64_t> last_use_;  // per slot: the number of the call; kEmpty: not occupied
};

}  // namespace

std::unique_ptr<EvictionPolicy> MakeLruPolicy() { return std::make_unique<LruPolicy>(); }

}  // namespace nosa::kv
