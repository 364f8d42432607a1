#include "attention/summaries.h"

#include <algorithm>

#include "base/check.h"
#include "kv/fetch.h"
#include "ops/copy_blocks.h"
#include "ops/ops.h"

namespace nosa::attention {

SummaryLayout::SummaryLayout(const AttentionConfig& config, int max_tokens)
    : max_tokens_(max_tokens), lanes_(config.layers * config.kv_heads), has_importance_(config.has_importance) {
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

void CopySummaries(const AttentionConfig& config, int tokens, const SummaryLayout& from_layout, MutableBytes from,
                   const SummaryLayout& to_layout, MutableBytes to, ops::Backend& backend) {
  NOSA_CHECK(tokens <= from_layout.max_tokens() && tokens <= to_layout.max_tokens(),
             "summaries of {} tokens, from room for {} to room for {}", tokens, from_layout.max_tokens(),
             to_layout.max_tokens());
  if (from_layout.max_tokens() == to_layout.max_tokens()) {
    backend.Copy(to.data(), from.data(), from_layout.bytes(), {});
    return;
  }
  const size_t windows = static_cast<size_t>(config.WindowsOf(tokens)), dim = static_cast<size_t>(config.head_dim);
  const size_t tiles = (windows + ops::kWindowTile - 1) / ops::kWindowTile;
  const size_t keys_bytes = tiles * dim * ops::kWindowTile * DTypeBytes(config.kv_dtype);
  const size_t carry_bytes = static_cast<size_t>(config.kernel_size / config.kernel_stride) * (dim + 1) * sizeof(float);
  for (int lane = 0; lane < config.layers * config.kv_heads; ++lane) {
    const ops::WindowState a = from_layout.State(from, lane), b = to_layout.State(to, lane);
    if (windows > 0) backend.Copy(b.keys, a.keys, keys_bytes, {});
    if (windows > 0 && config.has_importance) backend.Copy(b.sigma, a.sigma, windows * sizeof(float), {});
    backend.Copy(b.carry, a.carry, carry_bytes, {});
  }
}

SummaryPiece::SummaryPiece(const AttentionConfig& config, int first, int end_token)
    : end(end_token), lanes(config.layers * config.kv_heads) {
  constexpr size_t kTile = ops::kWindowTile;
  const size_t before = static_cast<size_t>(config.WindowsOf(first)), now = static_cast<size_t>(config.WindowsOf(end));
  const size_t dim = static_cast<size_t>(config.head_dim);
  const size_t strides = static_cast<size_t>(config.kernel_size / config.kernel_stride);
  tile_begin = before / kTile;
  tiles = now > before ? (now + kTile - 1) / kTile - tile_begin : 0;
  carry_bytes = RoundUp(strides * (dim + 1) * sizeof(float), 16);  // SummaryLayout leaves room for more
  keys_bytes = tiles * dim * kTile * DTypeBytes(config.kv_dtype);
  sigma_bytes = config.has_importance ? tiles * kTile * sizeof(float) : 0;
  lane_bytes = carry_bytes + keys_bytes + sigma_bytes;
}

namespace {

// Where a piece lies in the summaries of one lane.
struct PiecePlaces {
  std::byte *carry, *keys, *sigma;
};

PiecePlaces PlacesOf(const SummaryPiece& piece, const SummaryLayout& layout, MutableBytes side, int lane) {
  NOSA_DCHECK(piece.end <= layout.max_tokens(), "a piece up to token {} of {}", piece.end, layout.max_tokens());
  const ops::WindowState state = layout.State(side, lane);
  const size_t tile_bytes = piece.tiles == 0 ? 0 : piece.keys_bytes / piece.tiles;
  return {reinterpret_cast<std::byte*>(state.carry),
          static_cast<std::byte*>(state.keys) + piece.tile_begin * tile_bytes,
          state.sigma == nullptr ? nullptr
                                 : reinterpret_cast<std::byte*>(state.sigma + piece.tile_begin * ops::kWindowTile)};
}

}  // namespace

ops::BlockCopy* SummaryCopier::Begin(int lanes) {
  constexpr size_t kHeader = 16;
  List& list = lists_[next_];
  if (list.used) backend_->Wait(list.done);
  const size_t bytes = kHeader + 3 * static_cast<size_t>(lanes) * sizeof(ops::BlockCopy);
  ops::Grow(*backend_, bytes, backend_->shared_memory(), &list.memory);
  *reinterpret_cast<int32_t*>(list.memory.data()) = lanes;
  return reinterpret_cast<ops::BlockCopy*>(list.memory.data() + kHeader);
}

void SummaryCopier::Run(const SummaryPiece& piece) {
  List& list = lists_[next_];
  next_ = (next_ + 1) % lists_.size();
  const auto* count = reinterpret_cast<const int32_t*>(list.memory.data());
  const auto* copies = reinterpret_cast<const ops::BlockCopy*>(list.memory.data() + 16);
  for (const size_t bytes : {piece.carry_bytes, piece.keys_bytes, piece.sigma_bytes}) {
    if (bytes > 0)
      ops::copy_blocks(*backend_, {}, {.copies = copies, .count = count, .most = piece.lanes, .bytes = bytes});
    copies += piece.lanes;
  }
  list.done = backend_->Record({});
  list.used = true;
}

void SummaryCopier::Save(const SummaryPiece& piece, const SummaryLayout& layout, MutableBytes side,
                         MutableBytes bytes) {
  NOSA_CHECK(bytes.size() >= piece.bytes(), "a piece of {} bytes in {}", piece.bytes(), bytes.size());
  ops::BlockCopy* copies = Begin(piece.lanes);
  for (int lane = 0; lane < piece.lanes; ++lane) {
    const PiecePlaces from = PlacesOf(piece, layout, side, lane);
    std::byte* to = bytes.data() + static_cast<size_t>(lane) * piece.lane_bytes;
    copies[lane] = {from.carry, to};
    copies[piece.lanes + lane] = {from.keys, to + piece.carry_bytes};
    if (piece.sigma_bytes > 0) copies[2 * piece.lanes + lane] = {from.sigma, to + piece.carry_bytes + piece.keys_bytes};
  }
  Run(piece);
}

void SummaryCopier::Load(const SummaryPiece& piece, const SummaryLayout& layout, ConstBytes bytes, MutableBytes side) {
  NOSA_CHECK(bytes.size() >= piece.bytes(), "a piece of {} bytes in {}", piece.bytes(), bytes.size());
  ops::BlockCopy* copies = Begin(piece.lanes);
  for (int lane = 0; lane < piece.lanes; ++lane) {
    const PiecePlaces to = PlacesOf(piece, layout, side, lane);
    const std::byte* from = bytes.data() + static_cast<size_t>(lane) * piece.lane_bytes;
    copies[lane] = {from, to.carry};
    copies[piece.lanes + lane] = {from + piece.carry_bytes, to.keys};
    if (piece.sigma_bytes > 0) copies[2 * piece.lanes + lane] = {from + piece.carry_bytes + piece.keys_bytes, to.sigma};
  }
  Run(piece);
}

namespace {

// Recomputes the running sums of one lane from tokens [first, first + rows.size()), `first` a multiple of ks. Pooling
// counts the tokens from 0: the ring rows of the sums stay the same, and the windows it completes, which exist
// already, fall into scratch memory.
void PoolAgain(const AttentionConfig& config, std::span<const ops::KvRow> rows, float* carry, Buffer* scratch,
               ops::Backend& backend) {
  const size_t windows = static_cast<size_t>(std::max(1, config.WindowsOf(static_cast<int64_t>(rows.size()))));
  const size_t tiles = (windows + ops::kWindowTile - 1) / ops::kWindowTile;
  const size_t keys_bytes = RoundUp(
      tiles * ops::kWindowTile * static_cast<size_t>(config.head_dim) * DTypeBytes(config.kv_dtype), sizeof(float));
  ops::Grow(backend, keys_bytes + windows * sizeof(float), backend.compute_memory(), scratch);
  float* sigma = reinterpret_cast<float*>(scratch->data() + keys_bytes);
  const ops::WindowState state = {scratch->data(), config.has_importance ? sigma : nullptr, carry};
  const ops::PoolWindowsArgs::Segment segment = {0, static_cast<int32_t>(rows.size()), 0, 0};
  ops::pool_windows(backend, {},
                    {.segments = {&segment, 1},
                     .rows = rows,
                     .states = {&state, 1},
                     .kv_heads = 1,
                     .head_dim = config.head_dim,
                     .kernel_size = config.kernel_size,
                     .kernel_stride = config.kernel_stride,
                     .kv_dtype = config.kv_dtype,
                     .summary_dtype = config.kv_dtype});
}

Status RestoreLane(const AttentionConfig& config, kv::KvStore& store, SeqId seq, int lane, int first, float* carry,
                   Buffer* scratch, ops::Backend& backend) {
  const kv::BlockLayout& layout = store.layout();
  const int length = store.length(seq), sealed = store.sealed_blocks(seq), first_block = first / layout.block_size;
  std::vector<kv::BlockWant> wants;
  for (int block = first_block; block < std::min(layout.Blocks(length), sealed); ++block) {
    wants.push_back({lane, store.page(seq, BlockId(block)), 0});
  }
  kv::BlockFetch fetch(store, kv::BlockFetch::Order::kAny);
  fetch.Start(wants);
  for (size_t there = 0; there < wants.size();) {
    NOSA_ASSIGN_OR_RETURN(const std::span<const int32_t> ready, fetch.Next());
    there += ready.size();
  }
  std::vector<ops::KvRow> rows;
  for (int pos = first; pos < length; ++pos) {
    const int block = pos / layout.block_size;
    rows.push_back(block >= sealed
                       ? store.Row(seq, lane, pos)
                       : layout.Row(const_cast<std::byte*>(fetch.Block(block - first_block)), pos % layout.block_size));
  }
  PoolAgain(config, rows, carry, scratch, backend);
  return Status::Ok();
}

}  // namespace

Status RestoreRunningSums(const AttentionConfig& config, kv::KvStore& store, SeqId seq, ops::Backend& backend) {
  const int length = store.length(seq);
  // The next window to complete needs the sums of the last ks / st strides, of which the last may be unfinished.
  const int strides = config.kernel_size / config.kernel_stride;
  const int oldest = std::max(0, length / config.kernel_stride - (strides - 1));
  const int first = oldest / strides * config.kernel_size;
  if (first == length) return Status::Ok();
  const SummaryLayout summaries(config, store.max_tokens(seq));
  Buffer scratch;
  for (int lane = 0; lane < store.layout().lanes(); ++lane) {
    float* carry = summaries.State(store.side(seq), lane).carry;
    NOSA_RETURN_IF_ERROR(RestoreLane(config, store, seq, lane, first, carry, &scratch, backend));
  }
  return Status::Ok();
}

}  // namespace nosa::attention
