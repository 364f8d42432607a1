#include "ops/block_scores.h"

namespace nosa::ops {

void Check(const BlockScoresArgs& args) {
  NOSA_CHECK(args.windows_per_block > 0, "expected windows in a block, found {}", args.windows_per_block);
  for (const BlockScoresArgs::Row& row : args.rows) {
    NOSA_CHECK(row.windows >= 0 && row.blocks >= 0, "a row of {} windows and {} blocks", row.windows, row.blocks);
    NOSA_CHECK(row.values != nullptr || row.windows == 0, "a row of {} windows has no values", row.windows);
    NOSA_CHECK(row.out != nullptr || row.blocks == 0, "a row of {} blocks has no place", row.blocks);
  }
}

OpCost Cost(const BlockScoresArgs& args) {
  double windows = 0, blocks = 0;
  for (const BlockScoresArgs::Row& row : args.rows) {
    windows += row.windows;
    blocks += row.blocks;
  }
  return {.bytes = 4 * (windows + blocks), .flops = windows + blocks};
}

}  // namespace nosa::ops
