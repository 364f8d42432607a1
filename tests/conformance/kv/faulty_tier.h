// A tier that goes wrong: wraps any other and, by a seed, fails, damages, delays and reorders what passes through.
// What it may do is what disks and networks do; what it never does is break the contract of kv/tier.h, so whoever uses
// a tier must live with all of it.
#pragma once

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/rng.h"
#include "kv/tier.h"
#include "tensor/buffer.h"

namespace nosa::kv {

// Probabilities in [0, 1], each drawn once per transfer, when it starts.
struct FaultPlan {
  double fail_read = 0;       // completes with kIo; `out` is left unspecified
  double fail_write = 0;      // completes with kIo; nothing is stored
  double full_write = 0;      // completes with kResourceExhausted; nothing is stored
  double corrupt_read = 0;    // ok, with 1 to 8 bits of `out` flipped; what is stored stays good
  double corrupt_write = 0;   // ok, with 1 to 8 bits of what is stored flipped
  double torn_write = 0;      // ok, but zeros from a random place to the end of the page; at 0 it was never written
  double misplaced_read = 0;  // ok, but the bytes are those of another offset of the page
  double delay = 0;           // the completion waits for 1 to max_delay further calls of Poll
  int max_delay = 8;
  bool reorder = true;  // ready completions come in random order, not in that of arrival
};

struct FaultCounts {
  uint64_t reads = 0;
  uint64_t writes = 0;
  uint64_t failed_reads = 0;
  uint64_t failed_writes = 0;
  uint64_t full_writes = 0;
  uint64_t corrupt_reads = 0;
  uint64_t corrupt_writes = 0;
  uint64_t torn_writes = 0;
  uint64_t misplaced_reads = 0;
  uint64_t delayed = 0;

  // Completions that say ok over wrong bytes: what only a checksum sees. A read of a page whose write was damaged is
  // not counted again; damage may fall on padding or on bytes nobody reads.
  uint64_t silent() const { return corrupt_reads + corrupt_writes + torn_writes + misplaced_reads; }
  uint64_t loud() const { return failed_reads + failed_writes + full_writes; }
};

// As deterministic as the tier it wraps: the same seed and calls draw the same faults. For one caller thread.
class FaultyTier final : public Tier {
 public:
  FaultyTier(std::unique_ptr<Tier> inner, uint64_t seed, const FaultPlan& plan)
      : plan_(plan), inner_(std::move(inner)), rng_(seed, 0xfa01) {}

  // May be changed at any time; holds for transfers that start later.
  FaultPlan& plan() { return plan_; }
  const FaultCounts& counts() const { return counts_; }

  std::string Describe() const override { return "faulty " + inner_->Describe(); }
  uint64_t alignment() const override { return inner_->alignment(); }
  Status SetPageBytes(uint64_t page_bytes) override {
    page_bytes_ = page_bytes;
    return inner_->SetPageBytes(page_bytes);
  }
  int64_t capacity_pages() const override { return inner_->capacity_pages(); }
  void Free(PageId page) override { inner_->Free(page); }
  uint64_t used_bytes() const override { return inner_->used_bytes(); }
  size_t in_flight() const override { return inside_.size() + held_.size(); }

  void StartWrite(PageId page, ConstBytes data, uint64_t tag) override {
    ++counts_.writes;
    Inside transfer = {.tag = tag, .delay = DrawDelay()};
    const bool fail = Draw(plan_.fail_write), full = Draw(plan_.full_write);
    const bool corrupt = Draw(plan_.corrupt_write), torn = Draw(plan_.torn_write);
    if (fail) {
      ++counts_.failed_writes;
      return Hold(transfer, IoError("injected: the write of page {} failed", page.value));
    }
    if (full) {
      ++counts_.full_writes;
      return Hold(transfer, ResourceExhausted("injected: no room for page {}", page.value));
    }
    if (corrupt || torn) data = DamagedCopy(data, corrupt, torn, &transfer.copy);
    inner_->StartWrite(page, data, Enter(std::move(transfer)));
  }

  void StartRead(PageId page, uint64_t offset, MutableBytes out, uint64_t tag) override {
    ++counts_.reads;
    Inside transfer = {.tag = tag, .delay = DrawDelay()};
    const bool fail = Draw(plan_.fail_read), corrupt = Draw(plan_.corrupt_read), misplaced = Draw(plan_.misplaced_read);
    const uint64_t other = OtherOffset(offset, out.size());
    if (fail) {
      ++counts_.failed_reads;
      if (!out.empty()) std::memset(out.data(), 0xdb, out.size());
      return Hold(transfer, IoError("injected: the read of page {} failed", page.value));
    }
    if (corrupt && !out.empty()) {
      ++counts_.corrupt_reads;
      transfer.flip = out;
    } else if (misplaced && other != offset) {
      ++counts_.misplaced_reads;
      offset = other;
    }
    inner_->StartRead(page, offset, out, Enter(std::move(transfer)));
  }

  size_t Poll(std::span<TierCompletion> out, bool wait) override {
    if (out.empty()) return 0;
    ++polls_;
    Collect(/*wait=*/wait && held_.empty());
    size_t n = 0;
    while (n < out.size() && TakeReady(&out[n])) ++n;
    if (n > 0 || !wait) return n;
    // Whoever waits gets something: what is inside, or what is nearest to its time.
    if (held_.empty()) return 0;
    const auto next =
        std::min_element(held_.begin(), held_.end(), [](const Held& a, const Held& b) { return a.due < b.due; });
    next->due = 0;
    return TakeReady(&out[0]) ? 1 : 0;
  }

 private:
  // Handed to the inner tier under a tag of ours.
  struct Inside {
    uint64_t tag = 0;
    uint64_t delay = 0;
    MutableBytes flip = {};  // of a read, when it completes
    Buffer copy = {};        // of a write: what is stored in place of the caller's bytes
  };
  // Done, not yet shown.
  struct Held {
    TierCompletion completion;
    uint64_t due = 0;  // the number of the call of Poll that may return it
  };

  uint32_t Word() { return rng_.Block(counter_++)[0]; }
  uint64_t Below(uint64_t n) { return n == 0 ? 0 : Word() % n; }
  // Draws are made whatever the plan says, so that a change of one probability leaves the others' luck alone.
  bool Draw(double probability) { return Word() < probability * 0x1p32; }

  uint64_t DrawDelay() {
    const bool late = Draw(plan_.delay);
    const uint64_t polls = 1 + Below(static_cast<uint64_t>(std::max(plan_.max_delay, 1)));
    counts_.delayed += late ? 1 : 0;
    return late ? polls : 0;
  }

  uint64_t Enter(Inside transfer) {
    inside_.emplace(++last_, std::move(transfer));
    return last_;
  }

  void Hold(const Inside& transfer, Status status) {
    held_.push_back({{transfer.tag, std::move(status)}, polls_ + transfer.delay});
  }

  void FlipBits(MutableBytes bytes) {
    const uint64_t first = Below(8 * bytes.size());
    bytes[first / 8] ^= static_cast<std::byte>(1u << first % 8);
    // Never the first one again: an even number of flips in one place would be none.
    for (uint64_t more = Below(8); more > 0; --more) {
      const uint64_t bit = Below(8 * bytes.size());
      if (bit != first) bytes[bit / 8] ^= static_cast<std::byte>(1u << bit % 8);
    }
  }

  ConstBytes DamagedCopy(ConstBytes data, bool corrupt, bool torn, Buffer* copy) {
    *copy = Buffer::Host(data.size(), std::max<size_t>(64, inner_->alignment()));
    const MutableBytes bytes = copy->span().first(data.size());
    std::memcpy(bytes.data(), data.data(), data.size());
    if (torn) {
      ++counts_.torn_writes;
      const uint64_t from = Below(data.size());
      std::memset(bytes.data() + from, 0, data.size() - from);
    }
    if (corrupt) {
      ++counts_.corrupt_writes;
      FlipBits(bytes);
    }
    return bytes;
  }

  uint64_t OtherOffset(uint64_t offset, uint64_t size) {
    const uint64_t draw = Word();
    // At reading size, so that it finds another record where records are of one size.
    const uint64_t step = std::max(size, inner_->alignment());
    if (size == 0 || step % inner_->alignment() != 0 || page_bytes_ < 2 * step) return offset;
    const uint64_t other = draw % (page_bytes_ / step) * step;
    return other + size <= page_bytes_ ? other : offset;
  }

  void Collect(bool wait) {
    std::vector<TierCompletion> done(16);
    for (;;) {
      const size_t n = inner_->Poll(done, wait);
      for (size_t i = 0; i < n; ++i) {
        const auto at = inside_.find(done[i].tag);
        NOSA_CHECK(at != inside_.end(), "the inner tier completed tag {}, which is not in flight", done[i].tag);
        if (done[i].status.ok() && !at->second.flip.empty()) FlipBits(at->second.flip);
        Hold(at->second, std::move(done[i].status));
        inside_.erase(at);
      }
      if (n < done.size()) return;
      wait = false;
    }
  }

  bool TakeReady(TierCompletion* out) {
    std::vector<size_t> ready;
    for (size_t i = 0; i < held_.size(); ++i) {
      if (held_[i].due <= polls_) ready.push_back(i);
    }
    if (ready.empty()) return false;
    const size_t i = ready[plan_.reorder ? Below(ready.size()) : 0];
    *out = std::move(held_[i].completion);
    held_.erase(held_.begin() + static_cast<ptrdiff_t>(i));
    return true;
  }

  FaultPlan plan_;
  FaultCounts counts_;
  std::unordered_map<uint64_t, Inside> inside_;  // outlives inner_, which may still write from the copies
  std::unique_ptr<Tier> inner_;
  Philox rng_;
  uint64_t counter_ = 0;
  uint64_t last_ = 0;   // tag given to the inner tier
  uint64_t polls_ = 0;  // calls of Poll so far
  uint64_t page_bytes_ = 0;
  std::vector<Held> held_;
};

}  // namespace nosa::kv
