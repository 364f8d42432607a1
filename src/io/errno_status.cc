#include "io/errno_status.h"

#include <unistd.h>

#include <array>
#include <cerrno>
#include <system_error>

namespace nosa::io::internal {
namespace {

StatusCode CodeOf(int error) {
  switch (error) {
    case ENOENT:
    case ENOTDIR: return StatusCode::kNotFound;
    case ENOSPC:
    case EDQUOT:
    case EFBIG:  // above the file system's or the process's limit on the size of a file
    case EMFILE:
    case ENFILE:
    case ENOMEM: return StatusCode::kResourceExhausted;
    default: return StatusCode::kIo;
  }
}

}  // namespace

std::string ErrnoText(int error) { return std::generic_category().message(error); }

Status ErrnoStatus(int error, std::string_view what) {
  return Status(CodeOf(error), fmt::format("cannot {}: {}", what, ErrnoText(error)));
}

std::string DescriptorName(int fd) {
  std::array<char, 4096> path;
  const ssize_t n = ::readlink(fmt::format("/proc/self/fd/{}", fd).c_str(), path.data(), path.size());
  if (n <= 0) return fmt::format("fd {}", fd);
  return fmt::format("{} (fd {})", std::string_view(path.data(), static_cast<size_t>(n)), fd);
}

}  // namespace nosa::io::internal
