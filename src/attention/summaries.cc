#include "attention/summaries.h"

#include <cstring>

#include "kv/fetch.h"
#include "ops/ops.h"

namespace nosa::attention {

SummaryLayout::SummaryLayout(const AttentionConfig& config, int max_tokens)
    : lanes_(config.layers * config.kv_heads), has_importance_(config.has_importance) {
  const size_t windows = static_cast<size_t>(config.WindowsOf(max_tokens));
  const size_t tiles = (windows + ops::kWindowTile - 1) / ops::kWindowTile;
  const size_t dim = static_cast<size_t>(config.head_dim);
  const size_t strides = static_cast<size_t>(config.kernel_size / config.kernel_stride);
  keys_bytes_ = RoundUp(tiles * dim * ops::kWindowTile * DTypeBytes(config.kv_dtype), 64);
  sigma_bytes_ = has_importance_ ? RoundUp(windows * sizeof(float), 64) : 0;
  lane_bytes_ = keys_bytes_ + sigma_bytes_ + RoundUp(strides * (dim + 1) * sizeof(float), 64);
}

ops::WindowState SummaryLayout::State(MutableBytes side, int lane) const {
  std::byte* base = side.data() + static_cast<size_t>(lane) * lane_bytes_;
  return {base, has_importance_ ? reinterpret_cast<float*>(base + keys_bytes_) : nullptr,
          reinterpret_cast<float*>(base + keys_bytes_ + sigma_bytes_)};
}

namespace {

// Runs the pooling over tokens [first, first + count) of every lane again. The keys it completes are written once
// more with the bits they have; windows that began before `first` are not completed, since pooling starts on a window.
void PoolAgain(const AttentionConfig& config, int first, int count, std::span<const ops::KvRow> rows,
               std::span<const ops::WindowState> states, int lanes, ops::Backend& backend) {
  const ops::PoolWindowsArgs::Segment segment = {first, count, 0, 0};
  ops::pool_windows(backend, {}, {.segments = {&segment, 1}, .rows = rows, .states = states, .kv_heads = lanes,
                                  .head_dim = config.head_dim, .kernel_size = config.kernel_size,
                                  .kernel_stride = config.kernel_stride, .kv_dtype = config.kv_dtype,
                                  .summary_dtype = config.kv_dtype});
}

}  // namespace

Status RestoreRunningSums(const AttentionConfig& config, kv::KvStore& store, SeqId seq, ops::Backend& backend) {
  const int length = store.length(seq);
  const kv::BlockLayout& layout = store.layout();
  const SummaryLayout summaries(config, store.max_tokens(seq));
  // The sums reach back over the last ks / st strides, the unfinished one included.
  const int strides = config.kernel_size / config.kernel_stride;
  const int first = std::max(0, (length / config.kernel_stride - strides) * config.kernel_stride);
  if (first == length) return Status::Ok();
  std::vector<kv::BlockWant> wants;
  for (int lane = 0; lane < layout.lanes(); ++lane) {
    for (int block = first / layout.block_size; block < std::min(layout.Blocks(length), store.sealed_blocks(seq)); ++block) {
      wants.push_back({lane, store.page(seq, BlockId(block)), 0});
    }
  }
  // Keys of one lane at a time: a stride's sums need its tokens in order, and blocks come lane by lane.
  const int count = length - first;
  std::vector<std::vector<std::byte>> copies(wants.size());
  kv::BlockFetch fetch(store, kv::BlockFetch::Order::kAscending);
  fetch.Start(wants);
  for (;;) {
    NOSA_ASSIGN_OR_RETURN(const std::span<const int32_t> ready, fetch.Next());
    if (ready.empty()) break;
    for (const int32_t want : ready) {
      const std::byte* block = fetch.Block(want);
      copies[static_cast<size_t>(want)].assign(block, block + layout.BlockBytes());
    }
    fetch.Release(ready);
  }
  size_t copy = 0;
  for (int lane = 0; lane < layout.lanes(); ++lane) {
    const size_t lane_copies = copy;
    std::vector<ops::KvRow> rows;
    for (int pos = first; pos < length; ++pos) {
      const int block = pos / layout.block_size, token = pos % layout.block_size;
      if (block >= store.sealed_blocks(seq)) {
        rows.push_back(store.Row(seq, lane, pos));
      } else {
        rows.push_back(layout.Row(copies[lane_copies + static_cast<size_t>(block - first / layout.block_size)].data(), token));
      }
    }
    while (copy < wants.size() && wants[copy].lane == lane) ++copy;
    const ops::WindowState state = summaries.State(store.side(seq), lane);
    PoolAgain(config, first, count, rows, {&state, 1}, 1, backend);
  }
  return Status::Ok();
}

}  // namespace nosa::attention
