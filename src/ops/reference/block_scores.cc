#include "ops/block_scores.h"

#include <algorithm>
#include <limits>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void block_scores(Backend&, Stream, const BlockScoresArgs& args) {
  for (const BlockScoresArgs::Row& row : args.rows) {
    for (int64_t b = 0; b < row.blocks; ++b) {
      const int64_t first = std::max<int64_t>(0, b * args.windows_per_block - 1);
      const int64_t last = std::min<int64_t>(b * args.windows_per_block + args.windows_per_block - 1, row.windows - 1);
      float best = -std::numeric_limits<float>::infinity();
      for (int64_t w = first; w <= last; ++w) best = std::max(best, row.values[w]);
      row.out[b] = best;
    }
  }
}

}  // namespace nosa::ops::reference
