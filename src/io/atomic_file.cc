#include "io/atomic_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <utility>

#include "io/errno_status.h"
#include "io/file.h"
#include "io/transfer.h"

namespace nosa::io {
namespace internal {
namespace {

// Names tried before giving up: each must be taken by what a crashed process with our id left behind.
constexpr int kMaxNames = 1000;

int SyncRetrying(int fd) {
  int rc;
  do {
    rc = ::fsync(fd);
  } while (rc != 0 && errno == EINTR);
  return rc;
}

// Makes the rename durable. Best effort: some file systems cannot sync a directory, and the data is safe.
void SyncDirectoryOf(const std::filesystem::path& path) {
  const std::filesystem::path directory = path.has_parent_path() ? path.parent_path() : ".";
  const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return;
  SyncRetrying(fd);
  ::close(fd);
}

}  // namespace

Result<AtomicFile> AtomicFile::Create(const std::filesystem::path& path) {
  static std::atomic<uint64_t> counter{0};
  AtomicFile file;
  file.path_ = path;
  // Not mkstemp: its files are private to the user, and the result should have the usual permissions.
  for (int i = 0; i < kMaxNames && file.fd_ < 0; ++i) {
    file.temporary_ = fmt::format("{}.tmp-{}-{}", path.string(), ::getpid(), counter.fetch_add(1));
    file.fd_ = ::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (file.fd_ < 0 && errno != EEXIST && errno != EINTR) break;
  }
  if (file.fd_ < 0) return ErrnoStatus(errno, fmt::format("create {} to write {}", file.temporary_, path.string()));
  return file;
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)),
      size_(other.size_),
      path_(std::move(other.path_)),
      temporary_(std::move(other.temporary_)) {}

AtomicFile::~AtomicFile() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

Status AtomicFile::Append(ConstBytes data) {
  auto* bytes = const_cast<std::byte*>(data.data());  // a write only reads them
  NOSA_RETURN_IF_ERROR(
      RunBlocking({.request = {AsyncRequest::Kind::kWrite, fd_, size_, bytes, data.size()}, .name = temporary_}));
  size_ += data.size();
  return Status::Ok();
}

Status AtomicFile::Commit() {
  if (SyncRetrying(fd_) != 0) return ErrnoStatus(errno, fmt::format("flush {} to disk", temporary_));
  if (std::rename(temporary_.c_str(), path_.c_str()) != 0) {
    return ErrnoStatus(errno, fmt::format("rename {} to {}", temporary_, path_.string()));
  }
  ::close(std::exchange(fd_, -1));
  SyncDirectoryOf(path_);
  return Status::Ok();
}

}  // namespace internal

Status WriteFileAtomically(const std::filesystem::path& path, ConstBytes data) {
  NOSA_ASSIGN_OR_RETURN(internal::AtomicFile file, internal::AtomicFile::Create(path));
  NOSA_RETURN_IF_ERROR(file.Append(data));
  return file.Commit();
}

}  // namespace nosa::io
