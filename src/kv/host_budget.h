// The hard bound of the fastest tier: every byte it holds is charged here before it is taken.
#pragma once

#include <algorithm>
#include <cstdint>

namespace nosa::kv {

inline constexpr uint64_t kNoLimit = UINT64_MAX;

class HostBudget {
 public:
  explicit HostBudget(uint64_t limit) : limit_(limit) {}

  // False, and nothing charged, when `bytes` more would pass the limit.
  [[nodiscard]] bool TryCharge(uint64_t bytes) {
    if (bytes > limit_ - used_) return false;
    used_ += bytes;
    peak_ = std::max(peak_, used_);
    return true;
  }
  void Release(uint64_t bytes) { used_ -= bytes; }

  uint64_t limit() const { return limit_; }
  uint64_t used() const { return used_; }
  uint64_t peak() const { return peak_; }
  uint64_t left() const { return limit_ - used_; }

 private:
  uint64_t limit_;
  uint64_t used_ = 0;
  uint64_t peak_ = 0;
};

}  // namespace nosa::kv
