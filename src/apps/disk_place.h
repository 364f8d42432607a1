// Where KV blocks may go on disk, as --kv-disk says it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"

namespace nosa::apps {

struct DiskPlace {
  std::string directory;
  uint64_t capacity_bytes = 0;  // 0: as much as is free there

  friend bool operator==(const DiskPlace&, const DiskPlace&) = default;
};

// "DIR" or "DIR:SIZE". What follows the last colon is a size if it reads as one or begins with a digit (and is then an
// error if it does not); else it belongs to the directory's name. kInvalidArgument for no directory and for size 0.
Result<DiskPlace> ParseDiskPlace(std::string_view text);

}  // namespace nosa::apps
