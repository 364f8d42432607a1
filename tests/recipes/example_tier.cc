// A file without a name for every page, read and written at once: the smallest tier that keeps the contract.
#include <algorithm>
#include <deque>
#include <limits>
#include <map>

#include "io/file.h"
#include "kv/tier.h"

namespace nosa::kv {
namespace {

class FilesTier final : public Tier {
 public:
  explicit FilesTier(const TierOptions& options)
      : location_(options.location), capacity_bytes_(options.capacity_bytes) {}

  std::string Describe() const override {
    return fmt::format("example-files in {}: {}", location_, FormatByteSize(capacity_bytes_));
  }
  uint64_t alignment() const override { return 1; }
  int64_t capacity_pages() const override { return capacity_pages_; }
  size_t in_flight() const override { return done_.size(); }
  uint64_t used_bytes() const override { return files_.size() * page_bytes_; }

  Status SetPageBytes(uint64_t page_bytes) override {
    if (page_bytes > capacity_bytes_) {
      return ResourceExhausted("example-files in {}: a page takes {} bytes, the capacity is {}", location_, page_bytes,
                               capacity_bytes_);
    }
    page_bytes_ = page_bytes;
    const uint64_t pages = capacity_bytes_ / page_bytes;
    capacity_pages_ = static_cast<int64_t>(std::min<uint64_t>(pages, std::numeric_limits<int32_t>::max()));
    return Status::Ok();
  }

  // Done before it returns; the completion waits for Poll all the same.
  void StartWrite(PageId page, ConstBytes data, uint64_t tag) override { done_.push_back({tag, Write(page, data)}); }
  void StartRead(PageId page, uint64_t offset, MutableBytes out, uint64_t tag) override {
    const auto file = files_.find(page);
    NOSA_CHECK(file != files_.end(), "page {} was never written", page.value);
    Status status = file->second.ReadAt(offset, out);
    // What is damaged is for the record's checksum to say: a tier knows kIo and kResourceExhausted.
    if (status.code() == StatusCode::kDataLoss) status = IoError("{}", status.message());
    done_.push_back({tag, std::move(status)});
  }
  // Closing a file without a name gives its space back.
  void Free(PageId page) override { files_.erase(page); }

  size_t Poll(std::span<TierCompletion> out, bool wait) override {
    size_t n = 0;
    for (; n < out.size() && !done_.empty(); ++n) {
      out[n] = std::move(done_.front());
      done_.pop_front();
    }
    return n;
  }

 private:
  // Pages are numbered below capacity_pages(), so that no more than the capacity can be asked for.
  Status Write(PageId page, ConstBytes data) {
    NOSA_CHECK(page.valid() && page.value < capacity_pages_, "page {} of {}", page.value, capacity_pages_);
    auto file = files_.find(page);
    if (file == files_.end()) {
      bool is_direct = false;
      NOSA_ASSIGN_OR_RETURN(io::File opened, io::File::OpenAnonymous(location_, /*direct=*/false, &is_direct));
      file = files_.emplace(page, std::move(opened)).first;
    }
    return file->second.WriteAt(0, data);
  }

  const std::string location_;
  const uint64_t capacity_bytes_;
  uint64_t page_bytes_ = 0;
  int64_t capacity_pages_ = 0;
  std::map<PageId, io::File> files_;
  std::deque<TierCompletion> done_;
};

}  // namespace

Result<std::unique_ptr<Tier>> MakeExampleTier(const TierOptions& options) {
  if (options.capacity_bytes == 0)
    return InvalidArgument("example-files: expected a capacity such as 2GiB, found none");
  NOSA_ASSIGN_OR_RETURN(const uint64_t free_bytes, io::FreeDiskBytes(options.location));
  if (options.capacity_bytes > free_bytes) {
    return ResourceExhausted("example-files in {}: {} bytes were asked for, {} are free", options.location,
                             options.capacity_bytes, free_bytes);
  }
  return std::unique_ptr<Tier>(std::make_unique<FilesTier>(options));
}

}  // namespace nosa::kv
