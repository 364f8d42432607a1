// First in, first out: uses do not count.
#include <vector>

#include "kv/policy.h"

namespace nosa::kv {
namespace {

class FifoPolicy final : public EvictionPolicy {
 public:
  void Resize(int slots) override { inserted_.resize(static_cast<size_t>(slots), kEmpty); }
  void OnInsert(int slot, const UseHint& hint) override { inserted_[static_cast<size_t>(slot)] = ++inserts_; }
  void OnUse(int slot, const UseHint& hint) override {}
  void OnRemove(int slot) override { inserted_[static_cast<size_t>(slot)] = kEmpty; }

  int Victim(FunctionRef<bool(int slot)> evictable) const override {
    int victim = -1;
    for (int i = 0; i < static_cast<int>(inserted_.size()); ++i) {
      if (At(i) == kEmpty || (victim >= 0 && At(i) > At(victim))) continue;
      if (evictable(i)) victim = i;
    }
    return victim;
  }

 private:
  static constexpr uint64_t kEmpty = 0;
  uint64_t At(int slot) const { return inserted_[static_cast<size_t>(slot)]; }

  uint64_t inserts_ = kEmpty;
  std::vector<uint64_t> inserted_;  // per slot: the number of its insert; kEmpty: not occupied
};

}  // namespace

std::unique_ptr<EvictionPolicy> MakeExamplePolicy() { return std::make_unique<FifoPolicy>(); }

}  // namespace nosa::kv
