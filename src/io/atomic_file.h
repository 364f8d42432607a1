// A file that appears whole or not at all: written beside its place under another name, then renamed.
// Private to the io room.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "base/bytes.h"
#include "base/status.h"

namespace nosa::io::internal {

// Move-only. Without Commit, destruction removes the temporary file and leaves `path` as it was.
class AtomicFile {
 public:
  static Result<AtomicFile> Create(const std::filesystem::path& path);
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&&) = delete;
  ~AtomicFile();

  Status Append(ConstBytes data);
  // Flushes to the disk and renames; after it, also a power cut leaves the old file or the new one.
  Status Commit();

 private:
  AtomicFile() = default;

  int fd_ = -1;
  uint64_t size_ = 0;
  std::filesystem::path path_;
  std::string temporary_;
};

}  // namespace nosa::io::internal
