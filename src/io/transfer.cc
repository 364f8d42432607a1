#include "io/transfer.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <thread>

#include "io/errno_status.h"

namespace nosa::io::internal {
namespace {

// EAGAIN on a file means a passing shortage inside the kernel. After this many in a row it is not passing.
constexpr int kMaxStalls = 1000;

std::string Name(const Transfer& t) { return t.name.empty() ? DescriptorName(t.request.fd) : std::string(t.name); }

std::string Attempt(const Transfer& t) {
  return t.reading() ? fmt::format("read {} bytes at offset {} of {}", t.request.bytes, t.request.offset, Name(t))
                     : fmt::format("write {} bytes at offset {} of {}", t.request.bytes, t.request.offset, Name(t));
}

Status Ended(const Transfer& t) {
  return DataLoss("expected {} bytes at offset {} of {}, the file ends after {} of them", t.request.bytes,
                  t.request.offset, Name(t), t.done);
}

bool AtEndOfFile(const Transfer& t) {
  struct stat info = {};
  return ::fstat(t.request.fd, &info) == 0 && S_ISREG(info.st_mode) &&
         t.offset() >= static_cast<uint64_t>(info.st_size);
}

}  // namespace

std::optional<Status> Begin(const Transfer& t) {
  constexpr auto kMaxOffset = static_cast<uint64_t>(std::numeric_limits<int64_t>::max());
  if (t.request.bytes == 0) return Status::Ok();
  if (t.request.offset > kMaxOffset || t.request.bytes > kMaxOffset - t.request.offset) {
    return IoError("cannot {}: a file ends at {} at the latest", Attempt(t), kMaxOffset);
  }
  return std::nullopt;
}

std::optional<Status> Advance(Transfer* t, int64_t result) {
  if (result == -EINTR) return std::nullopt;
  if (result == -EAGAIN && ++t->stalls < kMaxStalls) return std::nullopt;
  if (result < 0) {
    // Direct I/O reads the odd bytes at the end of a file, then refuses to go on from an unaligned offset.
    if (result == -EINVAL && t->reading() && t->done > 0 && AtEndOfFile(*t)) return Ended(*t);
    return ErrnoStatus(static_cast<int>(-result), Attempt(*t));
  }
  if (result == 0) {
    if (t->reading()) return Ended(*t);
    return IoError("cannot {}: the system took {} bytes and then no more", Attempt(*t), t->done);
  }
  t->stalls = 0;
  t->done += static_cast<uint64_t>(result);
  if (t->done < t->request.bytes) return std::nullopt;
  return Status::Ok();
}

Status RunBlocking(Transfer t) {
  std::optional<Status> outcome = Begin(t);
  while (!outcome) {
    const auto offset = static_cast<off_t>(t.offset());
    const ssize_t n = t.reading() ? ::pread(t.request.fd, t.data(), t.bytes(), offset)
                                  : ::pwrite(t.request.fd, t.data(), t.bytes(), offset);
    const int error = errno;
    if (n < 0 && error == EAGAIN) std::this_thread::yield();
    outcome = Advance(&t, n < 0 ? -static_cast<int64_t>(error) : n);
  }
  return *outcome;
}

}  // namespace nosa::io::internal
