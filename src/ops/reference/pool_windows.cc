#include "ops/pool_windows.h"

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {
namespace {

// One channel (c = head_dim: the importance) of one token.
void AddToken(const PoolWindowsArgs& args, const WindowState& state, int32_t pos, int c, float value) {
  const int strides = args.kernel_size / args.kernel_stride, width = args.head_dim + 1;
  const auto carry = [&](int32_t stride) -> float& { return state.carry[(stride % strides) * width + c]; };
  float& sum = carry(pos / args.kernel_stride);
  if (pos % args.kernel_stride == 0) sum = 0;
  sum += value;

  if ((pos + 1) % args.kernel_stride != 0 || pos + 1 < args.kernel_size) return;
  const int32_t window = (pos + 1 - args.kernel_size) / args.kernel_stride;
  float total = carry(window);
  for (int i = 1; i < strides; ++i) total += carry(window + i);
  const float mean = total / static_cast<float>(args.kernel_size);
  if (c == args.head_dim) {
    state.sigma[window] = mean;
  } else {
    const int32_t tile = window / kWindowTile, lane = window % kWindowTile;
    const int64_t at = (static_cast<int64_t>(tile) * args.head_dim + c) * kWindowTile + lane;
    StoreFloat(state.keys, args.summary_dtype, static_cast<size_t>(at), mean);
  }
}

}  // namespace

void pool_windows(Backend&, Stream, const PoolWindowsArgs& args) {
  for (const PoolWindowsArgs::Segment& segment : args.segments) {
    for (int32_t t = 0; t < segment.tokens; ++t) {
      for (int g = 0; g < args.kv_heads; ++g) {
        const KvRow& row = args.rows[static_cast<size_t>(segment.row_begin + t) * static_cast<size_t>(args.kv_heads) +
                                     static_cast<size_t>(g)];
        const WindowState& state = args.states[static_cast<size_t>(segment.state_begin + g)];
        const int32_t pos = segment.first_pos + t;
        for (int c = 0; c < args.head_dim; ++c) {
          AddToken(args, state, pos, c, LoadFloat(row.k, args.kv_dtype, static_cast<size_t>(c)));
        }
        if (state.sigma != nullptr) AddToken(args, state, pos, args.head_dim, row.s == nullptr ? 0.0f : *row.s);
      }
    }
  }
}

}  // namespace nosa::ops::reference
