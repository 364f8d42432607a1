// Pages in host memory beside the fast tier's budget, under a capacity of its own: for tests, and for machines whose
// slow tier is memory. Transfers happen inside Poll, in the order of submission, so that what a caller does with
// borrowed memory too early shows every time.
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <deque>
#include <limits>
#include <new>

#include "kv/tier.h"

namespace nosa::kv {
namespace {

uint64_t MachineMemoryBytes() {
  const long pages = ::sysconf(_SC_PHYS_PAGES), bytes = ::sysconf(_SC_PAGESIZE);
  return pages > 0 && bytes > 0 ? static_cast<uint64_t>(pages) * static_cast<uint64_t>(bytes)
                                : std::numeric_limits<uint64_t>::max();
}

class MemoryTier final : public Tier {
 public:
  explicit MemoryTier(uint64_t capacity_bytes) : capacity_bytes_(capacity_bytes) {}

  std::string Describe() const override { return fmt::format("memory: {}", FormatByteSize(capacity_bytes_)); }
  uint64_t alignment() const override { return 1; }

  Status SetPageBytes(uint64_t page_bytes) override {
    NOSA_CHECK(page_bytes > 0, "pages of no bytes");
    NOSA_CHECK(held_ == 0 && queue_.empty(), "{} pages are in use", held_);
    if (page_bytes > capacity_bytes_) {
      return ResourceExhausted("memory: a page takes {} bytes, the capacity is {}", page_bytes, capacity_bytes_);
    }
    page_bytes_ = page_bytes;
    const uint64_t pages = std::min<uint64_t>(capacity_bytes_ / page_bytes, std::numeric_limits<int32_t>::max());
    pages_ = std::vector<std::unique_ptr<std::byte[]>>(pages);
    return Status::Ok();
  }

  int64_t capacity_pages() const override { return static_cast<int64_t>(pages_.size()); }

  void StartWrite(PageId page, ConstBytes data, uint64_t tag) override {
    CheckPage(page);
    NOSA_CHECK(data.size() == page_bytes_, "expected a page of {} bytes, found {}", page_bytes_, data.size());
    queue_.push_back({.page = page, .write = data, .tag = tag});
  }

  void StartRead(PageId page, uint64_t offset, MutableBytes out, uint64_t tag) override {
    CheckPage(page);
    NOSA_CHECK(offset <= page_bytes_ && out.size() <= page_bytes_ - offset,
               "expected a read within a page of {} bytes, found {} bytes from {}", page_bytes_, out.size(), offset);
    queue_.push_back({.page = page, .read = out, .offset = offset, .tag = tag});
  }

  void Free(PageId page) override {
    CheckPage(page);
    held_ -= At(page) != nullptr ? 1 : 0;
    At(page).reset();
  }

  size_t Poll(std::span<TierCompletion> out, bool wait) override {
    size_t n = 0;
    for (; n < out.size() && !queue_.empty(); ++n) {
      out[n] = {queue_.front().tag, Run(queue_.front())};
      queue_.pop_front();
    }
    return n;
  }

  size_t in_flight() const override { return queue_.size(); }
  uint64_t used_bytes() const override { return held_ * page_bytes_; }

 private:
  struct Transfer {
    PageId page;
    ConstBytes write = {};  // empty for a read: pages have bytes
    MutableBytes read = {};
    uint64_t offset = 0;
    uint64_t tag = 0;
  };

  std::unique_ptr<std::byte[]>& At(PageId page) { return pages_[static_cast<size_t>(page.value)]; }

  void CheckPage(PageId page) const {
    NOSA_CHECK(page.valid() && page.value < capacity_pages(), "page {} of {}", page.value, capacity_pages());
  }

  Status Run(const Transfer& transfer) {
    std::unique_ptr<std::byte[]>& memory = At(transfer.page);
    if (transfer.write.empty()) {
      if (memory == nullptr) return IoError("memory: page {} holds nothing", transfer.page.value);
      if (!transfer.read.empty())
        std::memcpy(transfer.read.data(), memory.get() + transfer.offset, transfer.read.size());
      return Status::Ok();
    }
    if (memory == nullptr) {
      memory.reset(new (std::nothrow) std::byte[page_bytes_]);
      if (memory == nullptr) {
        return ResourceExhausted("memory: a page takes {} bytes, the system gave none beyond {}", page_bytes_,
                                 used_bytes());
      }
      ++held_;
    }
    std::memcpy(memory.get(), transfer.write.data(), page_bytes_);
    return Status::Ok();
  }

  const uint64_t capacity_bytes_;
  uint64_t page_bytes_ = 0;
  uint64_t held_ = 0;  // pages with memory
  std::vector<std::unique_ptr<std::byte[]>> pages_;
  std::deque<Transfer> queue_;
};

}  // namespace

Result<std::unique_ptr<Tier>> MakeMemoryTier(const TierOptions& options) {
  // Unlike a disk's, the machine's free memory is everybody's: a tier that took it would end the program, not refuse.
  if (options.capacity_bytes == 0) {
    return InvalidArgument("memory: expected a capacity such as 2GiB, found none");
  }
  const uint64_t machine = MachineMemoryBytes();
  if (options.capacity_bytes > machine) {
    return ResourceExhausted("memory: a capacity of {} bytes was asked for, the machine has {}", options.capacity_bytes,
                             machine);
  }
  return std::unique_ptr<Tier>(std::make_unique<MemoryTier>(options.capacity_bytes));
}

}  // namespace nosa::kv
