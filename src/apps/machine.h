// What this machine has.
#pragma once

#include <cstdint>
#include <string>

namespace nosa::apps {

// Bytes of RAM that can be taken without swapping: MemAvailable, and what the container's limit leaves.
uint64_t AvailableRamBytes();
uint64_t TotalRamBytes();

}  // namespace nosa::apps
