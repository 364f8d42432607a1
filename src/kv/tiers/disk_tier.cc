// Pages in one file without a name: page p lies at p * page_bytes. The system takes the space back when the program
// ends, however it ends; freed pages give theirs back at once.
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <limits>

#include "base/log.h"
#include "io/file.h"
#include "kv/tier.h"

namespace nosa::kv {
namespace {

// What a capacity of "all there is" leaves to others in the file system: a sixteenth, at most 1 GiB.
uint64_t ReserveBytes(uint64_t free_bytes) { return std::min(free_bytes / 16, kGiB); }

class DiskTier final : public Tier {
 public:
  DiskTier(std::string location, uint64_t capacity_bytes, io::File file, bool is_direct,
           std::unique_ptr<io::AsyncIo> io)
      : location_(std::move(location)),
        capacity_bytes_(capacity_bytes),
        file_(std::move(file)),
        is_direct_(is_direct),
        alignment_(io::DirectIoAlignment(file_)),
        io_(std::move(io)) {}

  std::string Describe() const override {
    return fmt::format("disk in {}: {}, {}, {}", location_, FormatByteSize(capacity_bytes_),
                       is_direct_ ? "O_DIRECT" : "page cache", io_->Describe());
  }

  uint64_t alignment() const override { return alignment_; }

  Status SetPageBytes(uint64_t page_bytes) override {
    NOSA_CHECK(page_bytes > 0, "pages of no bytes");
    NOSA_CHECK(held_pages_ == 0 && io_->in_flight() == 0, "{} pages are in use", held_pages_);
    if (page_bytes % alignment_ != 0) {
      return InvalidArgument("disk in {}: expected pages of a multiple of {} bytes, found {}", location_, alignment_,
                             page_bytes);
    }
    if (page_bytes > capacity_bytes_) {
      return ResourceExhausted("disk in {}: a page takes {} bytes, the capacity is {}", location_, page_bytes,
                               capacity_bytes_);
    }
    page_bytes_ = page_bytes;
    const uint64_t pages = std::min<uint64_t>(capacity_bytes_ / page_bytes, std::numeric_limits<int32_t>::max());
    held_.assign(pages, false);
    return Status::Ok();
  }

  int64_t capacity_pages() const override { return static_cast<int64_t>(held_.size()); }

  void StartWrite(PageId page, ConstBytes data, uint64_t tag) override {
    NOSA_CHECK(data.size() == page_bytes_, "expected a page of {} bytes, found {}", page_bytes_, data.size());
    // Held from here on, also if the write fails: part of it may lie on the disk until the page is freed.
    if (!Held(page)) ++held_pages_;
    Held(page) = true;
    auto* bytes = const_cast<std::byte*>(data.data());  // a write only reads them
    Submit(io::AsyncRequest::Kind::kWrite, page, 0, {bytes, data.size()}, tag);
  }

  void StartRead(PageId page, uint64_t offset, MutableBytes out, uint64_t tag) override {
    Submit(io::AsyncRequest::Kind::kRead, page, offset, out, tag);
  }

  void Free(PageId page) override {
    if (!Held(page)) return;
    Held(page) = false;
    --held_pages_;
    PunchHole(Begin(page));
  }

  size_t Poll(std::span<TierCompletion> out, bool wait) override {
    std::array<io::AsyncCompletion, 64> done;
    size_t n = 0;
    while (n < out.size()) {
      const size_t room = std::min(done.size(), out.size() - n);
      const size_t got = io_->Poll({done.data(), room}, wait && n == 0);
      for (size_t i = 0; i < got; ++i) out[n + i] = {done[i].tag, Translate(std::move(done[i].status))};
      n += got;
      if (got < room) break;
    }
    return n;
  }

  size_t in_flight() const override { return io_->in_flight(); }
  uint64_t used_bytes() const override { return held_pages_ * page_bytes_; }

 private:
  uint64_t Begin(PageId page) const { return static_cast<uint64_t>(page.value) * page_bytes_; }

  std::vector<bool>::reference Held(PageId page) {
    NOSA_CHECK(page.valid() && page.value < capacity_pages(), "page {} of {}", page.value, capacity_pages());
    return held_[static_cast<size_t>(page.value)];
  }

  void Submit(io::AsyncRequest::Kind kind, PageId page, uint64_t offset, MutableBytes memory, uint64_t tag) {
    NOSA_CHECK(Held(page), "page {} holds nothing", page.value);
    NOSA_CHECK(offset <= page_bytes_ && memory.size() <= page_bytes_ - offset,
               "expected a transfer within a page of {} bytes, found {} bytes from {}", page_bytes_, memory.size(),
               offset);
    const auto address = reinterpret_cast<uintptr_t>(memory.data());
    NOSA_CHECK((offset | memory.size() | address) % alignment_ == 0,
               "expected multiples of {} bytes, found {} bytes from {} at address {:#x}", alignment_, memory.size(),
               offset, address);
    const io::AsyncRequest request = {.kind = kind,
                                      .fd = file_.fd(),
                                      .offset = Begin(page) + offset,
                                      .data = memory.data(),
                                      .bytes = memory.size(),
                                      .tag = tag};
    io_->Submit({&request, 1});
  }

  // A file that ends early is a write that did not happen: for the tier that is an i/o error.
  Status Translate(Status status) const {
    if (status.ok() || status.code() == StatusCode::kResourceExhausted || status.code() == StatusCode::kIo) {
      return status.WithContext(fmt::format("disk in {}", location_));
    }
    return IoError("disk in {}: {}", location_, status.message());
  }

  void PunchHole(uint64_t begin) {
    constexpr int kMode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    int rc;
    do {
      rc = ::fallocate(file_.fd(), kMode, static_cast<off_t>(begin), static_cast<off_t>(page_bytes_));
    } while (rc != 0 && errno == EINTR);
    // Where holes do not exist the page's space serves its next contents, and stays below the capacity all the same.
    if (rc != 0 && errno != EOPNOTSUPP)
      LogWarn("disk in {}: cannot give back a page: {}", location_, std::strerror(errno));
  }

  const std::string location_;
  const uint64_t capacity_bytes_;
  const io::File file_;
  const bool is_direct_;
  const uint64_t alignment_;
  uint64_t page_bytes_ = 0;
  uint64_t held_pages_ = 0;
  std::vector<bool> held_;           // by page: written and not freed
  std::unique_ptr<io::AsyncIo> io_;  // last, so that it ends first: it waits for transfers of file_
};

// The bound in bytes: what was asked for if the disk has it, all but a reserve if nothing was.
Result<uint64_t> Capacity(const TierOptions& options) {
  NOSA_ASSIGN_OR_RETURN(const uint64_t free_bytes, io::FreeDiskBytes(options.location));
  if (options.capacity_bytes == 0) return free_bytes - ReserveBytes(free_bytes);
  if (options.capacity_bytes > free_bytes) {
    return ResourceExhausted("disk in {}: {} ({} bytes) were asked for, {} ({} bytes) are free", options.location,
                             FormatByteSize(options.capacity_bytes), options.capacity_bytes, FormatByteSize(free_bytes),
                             free_bytes);
  }
  return options.capacity_bytes;
}

}  // namespace

Result<std::unique_ptr<Tier>> MakeDiskTier(const TierOptions& options) {
  if (options.location.empty()) return InvalidArgument("disk: expected a directory, found none");
  bool is_direct = false;
  Result<io::File> file = io::File::OpenAnonymous(options.location, options.direct_io, &is_direct);
  if (!file.ok()) return file.status().WithContext("disk tier");
  NOSA_ASSIGN_OR_RETURN(const uint64_t capacity, Capacity(options));
  NOSA_ASSIGN_OR_RETURN(std::unique_ptr<io::AsyncIo> io, io::MakeAsyncIo(options.io));
  return std::unique_ptr<Tier>(
      std::make_unique<DiskTier>(options.location, capacity, *std::move(file), is_direct, std::move(io)));
}

}  // namespace nosa::kv
