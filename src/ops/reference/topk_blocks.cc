#include "ops/topk_blocks.h"

#include <algorithm>
#include <vector>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void topk_blocks(Backend&, Stream, const TopkBlocksArgs& args) {
  for (const TopkBlocksArgs::Row& row : args.rows) {
    int members = 0;
    std::vector<int32_t> rest;
    for (int32_t b = 0; b < row.blocks; ++b) {
      if ((row.mask[b / 64] >> (b % 64) & 1) != 0) {
        ++members;
      } else {
        rest.push_back(b);
      }
    }
    std::stable_sort(rest.begin(), rest.end(), [&](int32_t a, int32_t b) { return row.scores[a] > row.scores[b]; });
    for (const int32_t b : rest) {
      if (members >= args.k) break;
      row.mask[b / 64] |= uint64_t{1} << (b % 64);
      ++members;
    }
  }
}

}  // namespace nosa::ops::reference
