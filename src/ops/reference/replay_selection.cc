#include "ops/replay_selection.h"

#include <algorithm>
#include <vector>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void replay_selection(Backend&, Stream, const ReplaySelectionArgs& args) {
  const SelectionTrace& trace = args.trace;
  for (int r = 0; r < static_cast<int>(args.positions.size()); ++r) {
    const int32_t pos = args.positions[static_cast<size_t>(r)];
    const int own = pos / args.block_size, recent = own - args.local_blocks;
    for (int g = 0; g < args.kv_heads; ++g) {
      const int lane = r * args.kv_heads + g;
      int32_t& count = args.selection.counts[lane];
      count = 0;
      if (pos < 0) continue;
      const int64_t at = (static_cast<int64_t>(r % trace.rows) * trace.steps + (*args.step + args.stagger * r) % trace.steps) *
                             trace.lanes + args.lane + g;
      const uint16_t* picks = trace.picks + at * trace.width;
      std::vector<bool> chosen(static_cast<size_t>(own + 1), false);
      for (int b = 0; b <= own; ++b) chosen[static_cast<size_t>(b)] = b < args.init_blocks || b >= recent;
      for (int i = 0; i < trace.width; ++i) {
        const int block = args.init_blocks + picks[i];
        if (block < recent) chosen[static_cast<size_t>(block)] = true;
      }
      for (int b = 0; b <= own; ++b) {
        if (chosen[static_cast<size_t>(b)]) args.selection.ids[lane * args.selection.width + count++] = b;
      }
    }
  }
}

}  // namespace nosa::ops::reference
