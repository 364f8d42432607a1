// Where sealed pages live below the fastest tier. The contract every tier obeys; tests/conformance/kv judges.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/ids.h"
#include "base/status.h"
#include "io/async_io.h"

namespace nosa::kv {

struct TierOptions {
  std::string location;         // what the tier's prefix is followed by: a directory for disk
  uint64_t capacity_bytes = 0;  // hard bound; 0: as much as the place has now
  uint64_t page_bytes = 0;      // bytes of one page, a multiple of alignment() once known
  bool direct_io = true;        // bypass the page cache where the place can
  io::AsyncIoOptions io = {};
};

struct TierCompletion {
  uint64_t tag = 0;
  // kIo or kResourceExhausted. Damage is not the tier's to see: records carry their own checksums.
  Status status;
};

// A fixed array of pages, addressed by PageId in [0, capacity_pages()). For one caller thread. Transfers are
// asynchronous: memory handed to StartWrite or StartRead is borrowed until the completion with its tag is returned by
// Poll. Transfers of one page are not ordered: callers wait for a page's write before they read it. Destruction
// waits for what is in flight and releases the storage, also when the program is killed.
class Tier {
 public:
  virtual ~Tier() = default;

  // One line for people: "disk in /var/tmp: 1.0 GiB, O_DIRECT, io_uring".
  virtual std::string Describe() const = 0;
  // Offsets, lengths and memory of transfers must be multiples of this many bytes.
  virtual uint64_t alignment() const = 0;
  // Called once before the first transfer. kInvalidArgument when page_bytes is not a multiple of alignment();
  // kResourceExhausted, saying what there is and what it takes, when not even one page fits.
  virtual Status SetPageBytes(uint64_t page_bytes) = 0;
  virtual int64_t capacity_pages() const = 0;

  // Writes a whole page. `page` has page_bytes bytes.
  virtual void StartWrite(PageId page, ConstBytes data, uint64_t tag) = 0;
  // Reads out.size() bytes from `offset` within a page that was written.
  virtual void StartRead(PageId page, uint64_t offset, MutableBytes out, uint64_t tag) = 0;
  // The page's contents are no longer needed. No transfer of it is in flight.
  virtual void Free(PageId page) = 0;

  // As io::AsyncIo::Poll.
  virtual size_t Poll(std::span<TierCompletion> out, bool wait) = 0;
  virtual size_t in_flight() const = 0;
  // Bytes of storage the tier holds now: never above the capacity.
  virtual uint64_t used_bytes() const = 0;
};

// By the names of tiers.def; kInvalidArgument lists them.
Result<std::unique_ptr<Tier>> MakeTier(std::string_view name, const TierOptions& options);
std::vector<std::string> TierNames();

}  // namespace nosa::kv
