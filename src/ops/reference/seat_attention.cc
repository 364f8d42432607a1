#include "ops/seat_attention.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "ops/block_attention.h"
#include "ops/merge_states.h"
#include "ops/reference/reference_backend.h"
#include "ops/reset_states.h"

namespace nosa::ops::reference {
namespace {

// The states of every lane's splits, next to each other.
struct Partial {
  Partial(int64_t count, int group, int v_dim)
      : m(static_cast<size_t>(count * group)), l(m), acc(static_cast<size_t>(count * group * v_dim)), states{m.data(),
                                                                                                             l.data(),
                                                                                                             acc.data(),
                                                                                                             count,
                                                                                                             group,
                                                                                                             v_dim} {}
  std::vector<float> m, l, acc;
  PartialStates states;
};

void Attend(Backend& backend, Stream stream, const SeatAttentionArgs& args, int lane, int split,
            const PartialStates& states) {
  const StepSelection& selection = args.selection;
  const BlockFrame& frame = args.frame;
  const int row = lane / args.kv_heads, state = lane * SplitsOf(selection.width) + split;
  const int32_t pos = args.positions[static_cast<size_t>(row)];
  const int last = pos < 0 ? 0 : std::min(selection.counts[lane], (split + 1) * kSplitBlocks);
  std::vector<AttentionTile> tiles;
  for (int i = split * kSplitBlocks; i < last; ++i) {
    const ptrdiff_t at = static_cast<ptrdiff_t>(lane) * selection.width + i;
    const std::byte* block = args.addresses[at];
    const int first_pos = selection.ids[at] * frame.block_size;
    tiles.push_back({block, block + frame.v_offset,
                     args.bias ? reinterpret_cast<const float*>(block + frame.s_offset) : nullptr, lane % args.kv_heads,
                     first_pos, std::min(frame.block_size, pos + 1 - first_pos), 0, 1});
  }
  const BlockAttentionArgs::Ref refs[] = {{row, state}};
  const int32_t groups[] = {0, static_cast<int32_t>(tiles.size())};
  reference::block_attention(backend, stream,
                             {.q = args.q,
                              .positions = args.positions,
                              .tiles = tiles,
                              .refs = refs,
                              .groups = groups,
                              .states = states,
                              .dtype = frame.dtype,
                              .block_size = frame.block_size,
                              .scale = args.scale});
}

}  // namespace

void seat_attention(Backend& backend, Stream stream, const SeatAttentionArgs& args) {
  for (int i = 0; args.copies != nullptr && i < *args.copy_count; ++i) {
    std::memcpy(args.copies[i].to, args.copies[i].from, args.frame.bytes);
  }
  const int lanes = static_cast<int>(args.positions.size()) * args.kv_heads, splits = SplitsOf(args.selection.width);
  const Partial partial(int64_t{lanes} * splits, static_cast<int>(args.q.dim(1)) / args.kv_heads, args.frame.v_dim);
  reference::reset_states(backend, stream, {partial.states});
  std::vector<int32_t> offsets = {0}, order;
  for (int lane = 0; lane < lanes; ++lane) {
    for (int split = 0; split < splits; ++split) {
      Attend(backend, stream, args, lane, split, partial.states);
      order.push_back(lane * splits + split);
    }
    offsets.push_back(static_cast<int32_t>(order.size()));
  }
  std::vector<float> merged(static_cast<size_t>(args.out.shape().elements()));
  const TensorView out(merged.data(), DType::kF32, args.out.shape());
  reference::merge_states(
      backend, stream,
      {.states = partial.states, .offsets = offsets, .order = order, .kv_heads = args.kv_heads, .out = out});
  for (int64_t r = 0; r < out.rows(); ++r) {
    for (int64_t i = 0; i < out.RowElements(); ++i) {
      StoreFloat(args.out.row_bytes(r), args.out.dtype(), static_cast<size_t>(i), out.row<float>(r)[i]);
    }
  }
}

}  // namespace nosa::ops::reference
