// How fast a directory's disk reads a file from end to end.
#pragma once

#include <cstdint>
#include <vector>

#include "apps/disk_place.h"
#include "base/status.h"

namespace nosa::apps {

struct DiskRate {
  uint64_t bytes = 0;           // of the file
  std::vector<double> seconds;  // to read it, once for each pass
  bool direct = false;          // past the page cache; else what is measured may be RAM
};

// Writes a nameless file of random bytes, `most_bytes` or the place's capacity if that is smaller, and reads it
// `passes` times, a few large requests at once. Fails as its disk does; kResourceExhausted when the file does not fit.
Result<DiskRate> MeasureDiskRate(const DiskPlace& place, uint64_t most_bytes, int passes);

}  // namespace nosa::apps
