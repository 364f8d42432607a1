// The paths of File for file systems that lack a feature, apart so that tests reach them on any file system.
// Private to the io room.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/bytes.h"
#include "io/file.h"

namespace nosa::io::internal {

inline constexpr uint64_t kFillChunk = kMiB;

// Writes zeros over [begin, end), both rounded up to the alignment the file needs: what Reserve does where
// there is no fallocate. (The bytes skipped by rounding `begin` up lie in a block that exists already.)
Status FillWithZeros(const File& file, uint64_t begin, uint64_t end);

// A temporary file that is unlinked at once: what OpenAnonymous does where there is no O_TMPFILE.
// The descriptor, or -1 and errno.
int OpenUnlinked(const std::filesystem::path& directory);

}  // namespace nosa::io::internal
