// Where KV goes by default: everything fits, nothing is offloaded; it does not, the disk takes the rest.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "apps/disk_place.h"

namespace nosa::apps {

struct TierInputs {
  std::optional<uint64_t> host_budget_bytes = {};  // --kv-host
  std::optional<DiskPlace> disk = {};              // --kv-disk
  uint64_t free_ram_bytes = 0;                     // that KV may take when there is no --kv-host
  uint64_t all_in_ram_bytes = 0;                   // smallest budget without a disk tier
  std::string temporary_directory = {};
};

struct TierChoice {
  uint64_t host_budget_bytes = 0;
  std::optional<DiskPlace> disk;  // none: everything stays in RAM
  bool spills = false;            // it does not fit, so blocks come back from disk
};

TierChoice ChooseTiers(const TierInputs& inputs);

}  // namespace nosa::apps
