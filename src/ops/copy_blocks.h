// Copies blocks between places that the backend addresses.
#pragma once

#include "ops/ops.h"
#include "ops/seats.h"

namespace nosa::ops {

// copies[i].to = copies[i].from, `bytes` each, for i < *count. Ranges must not overlap. On a device this reads host
// memory directly, which for many small blocks is several times faster than a copy command for each.
struct CopyBlocksArgs {
  const BlockCopy* copies = nullptr;
  const int32_t* count = nullptr;  // [1]
  int most = 0;                    // *count is at most this
  size_t bytes = 0;                // a multiple of 16, as are the addresses
  // Multiprocessors to use at most, so that other streams keep theirs; 0: the backend's choice.
  int workers = 0;
};

}  // namespace nosa::ops
