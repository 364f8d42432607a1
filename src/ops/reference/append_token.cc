#include "ops/append_token.h"

#include <cstring>
#include <vector>

#include "ops/reference/reference_backend.h"
#include "ops/store_kv.h"

namespace nosa::ops::reference {
namespace {

KvRow RowOf(const BlockFrame& frame, std::byte* block, int token) {
  const size_t bytes = DTypeBytes(frame.dtype), row = static_cast<size_t>(token);
  return {block + row * static_cast<size_t>(frame.k_dim) * bytes,
          block + frame.v_offset + row * static_cast<size_t>(frame.v_dim) * bytes,
          frame.s_offset == 0 ? nullptr : reinterpret_cast<float*>(block + frame.s_offset) + token};
}

// What the tail got, for the page of lane (r, g), if there is one.
void WriteHome(const AppendTokenArgs& args, int r, int g, const KvRow& tail) {
  const BlockFrame& frame = args.frame;
  const int32_t pos = args.positions[static_cast<size_t>(r)];
  const size_t lane = static_cast<size_t>(r * args.lanes.kv_heads + g);
  std::byte* page =
      args.lanes.pages[lane * static_cast<size_t>(args.lanes.max_blocks) + static_cast<size_t>(pos / frame.block_size)];
  if (page == nullptr) return;
  const KvRow home = RowOf(frame, page, pos % frame.block_size);
  std::memcpy(home.k, tail.k, static_cast<size_t>(frame.k_dim) * DTypeBytes(frame.dtype));
  std::memcpy(home.v, tail.v, static_cast<size_t>(frame.v_dim) * DTypeBytes(frame.dtype));
  if (home.s != nullptr) *home.s = *tail.s;
}

}  // namespace

void append_token(Backend& backend, Stream stream, const AppendTokenArgs& args) {
  const SlotLanes& lanes = args.lanes;
  const BlockFrame& frame = args.frame;
  for (int r = 0; r < lanes.seats; ++r) {
    const int32_t pos = args.positions[static_cast<size_t>(r)];
    if (pos < 0) continue;
    std::vector<KvRow> tail;
    for (int g = 0; g < lanes.kv_heads; ++g) {
      const size_t lane = static_cast<size_t>(r * lanes.kv_heads + g);
      std::byte* slot =
          lanes.frames + (lane * static_cast<size_t>(lanes.slots + 1) + static_cast<size_t>(lanes.slots)) * frame.bytes;
      tail.push_back(RowOf(frame, slot, pos % frame.block_size));
    }
    reference::store_kv(backend, stream,
                        {.k = args.k.Rows(r, 1),
                         .v = args.v.Rows(r, 1),
                         .s = args.s.empty() ? args.s : args.s.Rows(r, 1),
                         .rows = tail,
                         .dtype = frame.dtype});
    for (int g = 0; g < lanes.kv_heads; ++g) WriteHome(args, r, g, tail[static_cast<size_t>(g)]);
    const PoolWindowsArgs::Segment segment = {pos, 1, 0, r * lanes.kv_heads};
    reference::pool_windows(backend, stream,
                            {.segments = {&segment, 1},
                             .rows = tail,
                             .states = args.states,
                             .kv_heads = lanes.kv_heads,
                             .head_dim = frame.k_dim,
                             .kernel_size = args.kernel_size,
                             .kernel_stride = args.kernel_stride,
                             .kv_dtype = frame.dtype,
                             .summary_dtype = args.summary_dtype});
  }
}

}  // namespace nosa::ops::reference
