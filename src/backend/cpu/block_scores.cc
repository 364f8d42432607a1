#include "ops/block_scores.h"

#include <algorithm>
#include <limits>

#include "backend/cpu/cpu_backend.h"

namespace nosa::cpu {
namespace {

// kStride > 0: windows in a block known to the compiler, which then unrolls the maximum.
template <int kStride>
void ScoreRow(const ops::BlockScoresArgs::Row& row, int stride) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  const int64_t step = kStride > 0 ? kStride : stride;
  // Blocks whose windows all exist, the first one aside, which has no window before it.
  const int64_t whole = std::min<int64_t>(row.blocks, row.windows / step);
  const auto slow = [&](int64_t b) {
    float best = kNone;
    for (int64_t w = std::max<int64_t>(0, b * step - 1); w <= std::min<int64_t>(b * step + step, row.windows) - 1;
         ++w) {
      best = std::max(best, row.values[w]);
    }
    row.out[b] = best;
  };
  if (row.blocks > 0) slow(0);
  for (int64_t b = 1; b < whole; ++b) {
    const float* values = row.values + b * step - 1;
    float best = values[0];
    for (int64_t i = 1; i <= step; ++i) best = std::max(best, values[i]);
    row.out[b] = best;
  }
  for (int64_t b = std::max<int64_t>(1, whole); b < row.blocks; ++b) slow(b);
}

}  // namespace

void block_scores(ops::Backend& backend, ops::Stream, const ops::BlockScoresArgs& args) {
  ContextOf(backend).pool->ParallelFor(static_cast<int64_t>(args.rows.size()), 8, [&](int64_t begin, int64_t end, int) {
    for (int64_t r = begin; r < end; ++r) {
      const auto& row = args.rows[static_cast<size_t>(r)];
      args.windows_per_block == 4 ? ScoreRow<4>(row, 4) : ScoreRow<0>(row, args.windows_per_block);
    }
  });
}

}  // namespace nosa::cpu
