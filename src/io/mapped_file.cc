#include <sys/mman.h>

#include <cerrno>
#include <utility>

#include "io/errno_status.h"
#include "io/file.h"

namespace nosa::io {

MappedFile::MappedFile(MappedFile&& other) noexcept : bytes_(std::exchange(other.bytes_, {})) {}

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  MappedFile taken(std::move(other));
  std::swap(bytes_, taken.bytes_);
  return *this;
}

MappedFile::~MappedFile() {
  if (!bytes_.empty()) ::munmap(const_cast<std::byte*>(bytes_.data()), bytes_.size());
}

Result<MappedFile> MappedFile::Open(const std::filesystem::path& path) {
  NOSA_ASSIGN_OR_RETURN(const File file, File::Open(path, File::Mode::kRead));
  NOSA_ASSIGN_OR_RETURN(const uint64_t size, file.Size());
  MappedFile map;
  if (size == 0) return map;  // the system maps no empty files
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.fd(), 0);
  if (data == MAP_FAILED)
    return internal::ErrnoStatus(errno, fmt::format("map the {} bytes of {}", size, path.string()));
  map.bytes_ = {static_cast<const std::byte*>(data), size};
  return map;
}

}  // namespace nosa::io
