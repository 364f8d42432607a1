#include "ops/topk_blocks.h"

namespace nosa::ops {

void Check(const TopkBlocksArgs& args) {
  NOSA_CHECK(args.k >= 0, "expected a count of blocks, found {}", args.k);
  for (const TopkBlocksArgs::Row& row : args.rows) {
    NOSA_CHECK(row.blocks >= 0, "a row of {} blocks", row.blocks);
    if (row.blocks == 0) continue;
    NOSA_CHECK(row.scores != nullptr && row.mask != nullptr, "a row of {} blocks has no {}", row.blocks,
               row.scores ? "mask" : "scores");
    const int used = row.blocks % 64;
    const uint64_t last = row.mask[(row.blocks - 1) / 64];
    NOSA_CHECK(used == 0 || last >> used == 0, "the mask of {} blocks holds {:#x} in its last word", row.blocks, last);
  }
}

OpCost Cost(const TopkBlocksArgs& args) {
  double blocks = 0;
  for (const TopkBlocksArgs::Row& row : args.rows) blocks += row.blocks;
  // One comparison per block at least; what a selection does beyond that is the implementation's affair.
  return {.bytes = blocks * 4 + blocks / 4, .flops = blocks};
}

}  // namespace nosa::ops
