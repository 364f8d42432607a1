#include "ops/seat_attention.h"

#include <algorithm>
#include <vector>

#include "ops/block_attention.h"
#include "ops/reference/reference_backend.h"
#include "ops/reset_states.h"

namespace nosa::ops::reference {

void seat_attention(Backend& backend, Stream stream, const SeatAttentionArgs& args) {
  using Part = SeatAttentionArgs::Part;
  const StepSelection& selection = args.selection;
  const BlockFrame& frame = args.frame;
  const int splits = SplitsOf(selection.width), group = args.states.heads;
  for (int lane = 0; lane < static_cast<int>(args.positions.size()) * args.kv_heads; ++lane) {
    const int row = lane / args.kv_heads, count = selection.counts[lane];
    for (int split = 0; split < splits; ++split) {
      const int state = lane * splits + split;
      const bool late = args.part != Part::kAll && args.late[state] != 0;
      if (args.part != Part::kAll && late != (args.part == Part::kLate)) continue;
      const int64_t first = static_cast<int64_t>(state) * group;
      reference::reset_states(backend, stream,
                              {{args.states.m + first, args.states.l + first, args.states.acc + first * args.states.v_dim,
                                1, group, args.states.v_dim}});
      std::vector<AttentionTile> tiles;
      const int32_t pos = args.positions[static_cast<size_t>(row)];
      for (int i = split * kSplitBlocks; pos >= 0 && i < std::min(count, (split + 1) * kSplitBlocks); ++i) {
        const int at = lane * selection.width + i;
        const std::byte* block = args.addresses[at];
        const int first_pos = selection.ids[at] * frame.block_size;
        tiles.push_back({block, block + frame.v_offset,
                         args.bias ? reinterpret_cast<const float*>(block + frame.s_offset) : nullptr,
                         lane % args.kv_heads, first_pos, std::min(frame.block_size, pos + 1 - first_pos), 0, 1});
      }
      const BlockAttentionArgs::Ref refs[] = {{row, state}};
      const int32_t groups[] = {0, static_cast<int32_t>(tiles.size())};
      reference::block_attention(backend, stream,
                                 {.q = args.q,
                                  .positions = args.positions,
                                  .tiles = tiles,
                                  .refs = refs,
                                  .groups = groups,
                                  .states = args.states,
                                  .dtype = frame.dtype,
                                  .block_size = frame.block_size,
                                  .scale = args.scale});
    }
  }
}

}  // namespace nosa::ops::reference
