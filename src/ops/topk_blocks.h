// Selects the blocks of highest score.
#pragma once

#include <cstdint>
#include <span>

#include "ops/ops.h"

namespace nosa::ops {

// Fills a set of blocks up to k members. Bit b of `mask` (word b / 64, bit b % 64) says that block b is in the set;
// members on entry stay (they count as +inf) and count towards k. The rest is filled with the blocks b < blocks of
// highest score, ties to the lower index, -inf included last. With blocks <= k every block joins. Scores are not NaN.
struct TopkBlocksArgs {
  struct Row {
    const float* scores = nullptr;  // [blocks] f32
    uint64_t* mask = nullptr;       // [ceil(blocks / 64)], bits at and above `blocks` are clear
    int32_t blocks = 0;
  };
  std::span<const Row> rows;
  int k = 0;
};

}  // namespace nosa::ops
