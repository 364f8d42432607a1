// Files by position, whole files, and read-only maps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"

namespace nosa::io {

// An open file descriptor. Move-only; closes on destruction. Positional calls are thread-safe.
class File {
 public:
  enum class Mode : uint8_t { kRead, kReadWrite, kCreate /* truncates */ };

  File() = default;
  File(File&& other) noexcept;
  File& operator=(File&& other) noexcept;
  ~File();

  static Result<File> Open(const std::filesystem::path& path, Mode mode);
  // A file without a name in `directory`: the system frees it when the program ends, however it ends.
  // With `direct`, tries O_DIRECT and says in `*is_direct` whether the file system took it.
  static Result<File> OpenAnonymous(const std::filesystem::path& directory, bool direct, bool* is_direct);

  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  const std::string& name() const { return name_; }

  Result<uint64_t> Size() const;
  // All of `out` or an error (kDataLoss when the file ends first).
  Status ReadAt(uint64_t offset, MutableBytes out) const;
  // All of `data` or an error; kResourceExhausted when the disk is full.
  Status WriteAt(uint64_t offset, ConstBytes data) const;
  // Gives the file `bytes` of real disk space from offset 0; kResourceExhausted when there is less.
  Status Reserve(uint64_t bytes) const;

 private:
  int fd_ = -1;
  std::string name_;
};

// Alignment O_DIRECT needs of offsets, lengths and memory on this file, in bytes; 1 for buffered files.
uint64_t DirectIoAlignment(const File& file);
// Bytes a process without privileges may still write in the file system of `path`.
Result<uint64_t> FreeDiskBytes(const std::filesystem::path& path);

Result<std::string> ReadTextFile(const std::filesystem::path& path);
// Writes to a temporary neighbour and renames, so that readers see the old file or the new one.
Status WriteFileAtomically(const std::filesystem::path& path, ConstBytes data);

// A read-only map of a whole file. Move-only. Pages are read when touched: a file that shrinks or fails under
// its map ends the program (SIGBUS).
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  ~MappedFile();

  static Result<MappedFile> Open(const std::filesystem::path& path);
  ConstBytes bytes() const { return bytes_; }

 private:
  ConstBytes bytes_;
};

}  // namespace nosa::io
