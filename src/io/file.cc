#include "io/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <limits>
#include <new>
#include <stdexcept>
#include <utility>

#include "io/errno_status.h"
#include "io/file_fallback.h"
#include "io/transfer.h"

namespace nosa::io {
namespace {

using internal::ErrnoStatus;

// What every disk accepts; used where the kernel does not say.
constexpr uint64_t kSafeDirectAlignment = 4096;

int OpenRetrying(const char* path, int flags, mode_t mode = 0) {
  int fd;
  do {
    fd = ::open(path, flags | O_CLOEXEC, mode);
  } while (fd < 0 && errno == EINTR);
  return fd;
}

std::string_view Purpose(File::Mode mode) {
  switch (mode) {
    case File::Mode::kRead: return "for reading";
    case File::Mode::kReadWrite: return "for reading and writing";
    case File::Mode::kCreate: return "as a new file";
  }
  return "";
}

int Flags(File::Mode mode) {
  switch (mode) {
    case File::Mode::kRead: return O_RDONLY;
    case File::Mode::kReadWrite: return O_RDWR;
    case File::Mode::kCreate: return O_RDWR | O_CREAT | O_TRUNC;
  }
  return O_RDONLY;
}

bool IsDirectory(int fd) {
  struct stat info = {};
  return ::fstat(fd, &info) == 0 && S_ISDIR(info.st_mode);
}

// The descriptor of a file that no path leads to, or -1 and errno.
int OpenNameless(const std::filesystem::path& directory) {
  const int fd = OpenRetrying(directory.c_str(), O_TMPFILE | O_RDWR | O_EXCL, 0600);
  // EISDIR: a kernel that does not know the flag; EINVAL, EOPNOTSUPP: a file system that does not.
  if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != EINVAL)) return fd;
  return internal::OpenUnlinked(directory);
}

bool TryDirect(int fd) {
  const int flags = ::fcntl(fd, F_GETFL);
  return flags >= 0 && ::fcntl(fd, F_SETFL, flags | O_DIRECT) == 0;
}

uint64_t FreeBytes(const struct statvfs& info) {
  return static_cast<uint64_t>(info.f_bavail) * static_cast<uint64_t>(info.f_frsize);
}

}  // namespace

int internal::OpenUnlinked(const std::filesystem::path& directory) {
  std::string path = (directory / "nosa-XXXXXX").string();
  const int fd = ::mkostemp(path.data(), O_CLOEXEC);
  if (fd >= 0) ::unlink(path.c_str());
  return fd;
}

File::File(File&& other) noexcept : fd_(std::exchange(other.fd_, -1)), name_(std::move(other.name_)) {}

File& File::operator=(File&& other) noexcept {
  File taken(std::move(other));
  std::swap(fd_, taken.fd_);
  std::swap(name_, taken.name_);
  return *this;
}

File::~File() {
  if (fd_ >= 0) ::close(fd_);
}

Result<File> File::Open(const std::filesystem::path& path, Mode mode) {
  const std::string attempt = fmt::format("open {} {}", path.string(), Purpose(mode));
  File file;
  file.name_ = path.string();
  file.fd_ = OpenRetrying(path.c_str(), Flags(mode), 0666);
  if (file.fd_ < 0) return ErrnoStatus(errno, attempt);
  if (IsDirectory(file.fd_)) return ErrnoStatus(EISDIR, attempt);
  return file;
}

Result<File> File::OpenAnonymous(const std::filesystem::path& directory, bool direct, bool* is_direct) {
  File file;
  file.name_ = fmt::format("a nameless file in {}", directory.string());
  file.fd_ = OpenNameless(directory);
  if (file.fd_ < 0) return ErrnoStatus(errno, fmt::format("open {}", file.name_));
  const bool taken = direct && TryDirect(file.fd_);
  if (is_direct != nullptr) *is_direct = taken;
  return file;
}

Result<uint64_t> File::Size() const {
  struct stat info = {};
  if (::fstat(fd_, &info) != 0) return ErrnoStatus(errno, fmt::format("read the size of {}", name_));
  return static_cast<uint64_t>(info.st_size);
}

Status File::ReadAt(uint64_t offset, MutableBytes out) const {
  return internal::RunBlocking(
      {.request = {AsyncRequest::Kind::kRead, fd_, offset, out.data(), out.size()}, .name = name_});
}

Status File::WriteAt(uint64_t offset, ConstBytes data) const {
  auto* bytes = const_cast<std::byte*>(data.data());  // a write only reads them
  return internal::RunBlocking(
      {.request = {AsyncRequest::Kind::kWrite, fd_, offset, bytes, data.size()}, .name = name_});
}

Status File::Reserve(uint64_t bytes) const {
  if (bytes == 0) return Status::Ok();
  NOSA_ASSIGN_OR_RETURN(const uint64_t size, Size());
  if (bytes > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
    return ResourceExhausted("cannot reserve {} bytes for {}: no file is that large", bytes, name_);
  }
  int error;
  do {
    error = ::fallocate(fd_, 0, 0, static_cast<off_t>(bytes)) == 0 ? 0 : errno;
  } while (error == EINTR);
  Status status;
  if (error == EOPNOTSUPP) {
    status = internal::FillWithZeros(*this, size, bytes);
  } else if (error != 0) {
    status = ErrnoStatus(error, fmt::format("reserve {} bytes for {}", bytes, name_));
  }
  if (status.ok()) return status;
  // A refusal may come after part of the space was taken: give that part back before reading what is free.
  const bool restored = ::ftruncate(fd_, static_cast<off_t>(size)) == 0;
  struct statvfs info = {};
  if (!restored || ::fstatvfs(fd_, &info) != 0) return status;
  return Status(status.code(), fmt::format("{}; its file system has {} bytes free", status.message(), FreeBytes(info)));
}

Status internal::FillWithZeros(const File& file, uint64_t begin, uint64_t end) {
  const uint64_t alignment = DirectIoAlignment(file);
  std::vector<std::byte> memory(kFillChunk + alignment);
  auto* zeros = memory.data();
  zeros += RoundUp(reinterpret_cast<uintptr_t>(zeros), alignment) - reinterpret_cast<uintptr_t>(zeros);
  end = RoundUp(end, alignment);
  for (uint64_t at = RoundUp(begin, alignment); at < end; at += kFillChunk) {
    NOSA_RETURN_IF_ERROR(file.WriteAt(at, {zeros, std::min(kFillChunk, end - at)}));
  }
  return Status::Ok();
}

uint64_t DirectIoAlignment(const File& file) {
  const int flags = ::fcntl(file.fd(), F_GETFL);
  if (flags < 0 || (flags & O_DIRECT) == 0) return 1;
#ifdef STATX_DIOALIGN
  struct statx info = {};
  if (::statx(file.fd(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &info) == 0 && (info.stx_mask & STATX_DIOALIGN) != 0 &&
      info.stx_dio_offset_align != 0) {
    return std::max<uint64_t>(info.stx_dio_mem_align, info.stx_dio_offset_align);
  }
#endif
  return kSafeDirectAlignment;
}

Result<uint64_t> FreeDiskBytes(const std::filesystem::path& path) {
  struct statvfs info = {};
  if (::statvfs(path.c_str(), &info) != 0) {
    return ErrnoStatus(errno, fmt::format("read the free space of {}", path.string()));
  }
  return FreeBytes(info);
}

Result<std::string> ReadTextFile(const std::filesystem::path& path) {
  NOSA_ASSIGN_OR_RETURN(const File file, File::Open(path, File::Mode::kRead));
  NOSA_ASSIGN_OR_RETURN(const uint64_t size, file.Size());
  std::string text;
  // Read to the end, not to the size: pipes and files of /proc have none.
  try {
    size_t used = 0;
    text.resize(size + 1);
    for (;;) {
      const ssize_t n = ::read(file.fd(), text.data() + used, text.size() - used);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return ErrnoStatus(errno, fmt::format("read {}", path.string()));
      if (n == 0) break;
      used += static_cast<size_t>(n);
      if (used == text.size()) text.resize(2 * used);
    }
    text.resize(used);
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory for the {} bytes of {}", size, path.string());
  } catch (const std::length_error&) {
    return ResourceExhausted("no memory for the {} bytes of {}", size, path.string());
  }
  return text;
}

}  // namespace nosa::io
