#include "attention/layer.h"

#include <algorithm>
#include <limits>
#include <optional>

#include "attention/summaries.h"
#include "base/check.h"
#include "ops/copy_blocks.h"
#include "ops/merge_states.h"
#include "ops/reset_states.h"
#include "ops/store_kv.h"

namespace nosa::attention {
namespace {

// Of a piece of copies of blocks in compute memory: enough work for one call on a device, little beside a model.
constexpr size_t kPieceBytes = size_t{8} << 20;
// Blocks come to a device on this stream; all else is on the first.
constexpr ops::Stream kCopies = {1};
// Of each copy: what device memory itself is aligned to.
constexpr size_t kStagedAlignment = 256;

// Whether a selection from so many blocks, or fewer, may take scores. One that reads every block, or no more than are
// there, asks the device nothing: the host need not wait, and plans ahead of it.
bool AsksDevice(const BlockSelector& selector, int blocks) {
  const std::optional<ops::SelectionRule> rule = selector.rule();
  if (!rule) return true;
  const int most = std::max(rule->query_blocks, rule->topk);
  return !rule->every_block && most > 0 && blocks > most;
}

}  // namespace

Result<std::unique_ptr<AttentionRunner>> AttentionRunner::Create(const AttentionConfig& config,
                                                                 const AttentionOptions& options, kv::KvStore* store,
                                                                 ops::Backend* backend) {
  std::unique_ptr<AttentionRunner> runner(new AttentionRunner(config, options, store, backend));
  NOSA_ASSIGN_OR_RETURN(runner->selector_, MakeSelector(options.selector, config));
  NOSA_ASSIGN_OR_RETURN(runner->prefill_selector_,
                        MakeSelector(options.dense_prefill ? "full" : options.selector, config));
  runner->traits_ = runner->selector_->traits();
  if (runner->traits_.needs_importance && !config.has_importance) {
    return FailedPrecondition(
        "attention \"{}\" needs the weights self_attn.delta and self_attn.A, this checkpoint has none; "
        "full, infllm2 and window work without them",
        options.selector);
  }
  return runner;
}

void AttentionRunner::ForgetTrace(SeqId seq) {
  CountUncounted();
  const size_t i = static_cast<size_t>(seq.value);
  if (i < traces_.size()) traces_[i] = {};
}

const SequenceTrace& AttentionRunner::trace(SeqId seq) {
  CountUncounted();
  static const SequenceTrace kNone;
  const size_t i = static_cast<size_t>(seq.value);
  return i < traces_.size() ? traces_[i] : kNone;
}

Status AttentionRunner::Run(LayerIdx layer, const AttentionBatch& batch, ConstTensorView q, ConstTensorView k,
                            ConstTensorView v, ConstTensorView s, TensorView out) {
  begun_ = backend_->Record({});
  fresh_ = std::numeric_limits<int32_t>::max();
  for (const Segment& segment : batch.segments) fresh_ = std::min(fresh_, segment.first_pos);
  StoreRows(layer, batch, k, v, s);
  Select(layer, batch, q);
  if (batch.record != nullptr) {
    batch.record->layers.resize(static_cast<size_t>(config_.layers));
    batch.record->layers[static_cast<size_t>(layer.value)] = selection();
  }
  const bool device = !HostAddressable(backend_->compute_memory());
  if (ahead_) {
    BuildWholeDemand(selection().rows(), config_.kv_heads, config_.block_size, batch.segments, &demand_);
  } else {
    BuildDemand(selection(), batch.segments, &demand_, device);
  }
  if (demand_.masked) StageMasks();
  PrepareStates();
  NOSA_RETURN_IF_ERROR(Attend(layer, batch, q));
  ops::merge_states(*backend_, {},
                    {.states = states_,
                     .offsets = demand_.offsets,
                     .order = demand_.order,
                     .kv_heads = config_.kv_heads,
                     .out = out});
  Masks& masks = masks_[masks_now_];
  masks.uncounted = true;
  masks.layer = layer;
  masks.prefill = batch.prefill;
  masks.segments.assign(batch.segments.begin(), batch.segments.end());
  if (!ahead_) CountUncounted();
  return Status::Ok();
}

void AttentionRunner::StoreRows(LayerIdx layer, const AttentionBatch& batch, ConstTensorView k, ConstTensorView v,
                                ConstTensorView s) {
  const int kv_heads = config_.kv_heads;
  rows_.resize(batch.positions.size() * static_cast<size_t>(kv_heads));
  states_of_layer_.clear();
  state_begin_.resize(batch.positions.size());
  std::vector<ops::PoolWindowsArgs::Segment> segments;
  for (const Segment& segment : batch.segments) {
    const SummaryLayout summaries(config_, store_->max_tokens(segment.seq));
    const int32_t state_begin = static_cast<int32_t>(states_of_layer_.size());
    segments.push_back({segment.first_pos, segment.rows, segment.row_begin, state_begin});
    for (int g = 0; g < kv_heads; ++g) {
      const int lane = store_->layout().Lane(layer, g);
      states_of_layer_.push_back(summaries.State(store_->side(segment.seq), lane));
      for (int i = 0; i < segment.rows; ++i) {
        const size_t row = static_cast<size_t>(segment.row_begin + i);
        rows_[row * static_cast<size_t>(kv_heads) + static_cast<size_t>(g)] =
            store_->Row(segment.seq, lane, segment.first_pos + i);
        state_begin_[row] = state_begin;
      }
    }
  }
  ops::store_kv(*backend_, {}, {.k = k, .v = v, .s = s, .rows = rows_, .dtype = config_.kv_dtype});
  ops::pool_windows(*backend_, {},
                    {.segments = segments,
                     .rows = rows_,
                     .states = states_of_layer_,
                     .kv_heads = kv_heads,
                     .head_dim = config_.head_dim,
                     .kernel_size = config_.kernel_size,
                     .kernel_stride = config_.kernel_stride,
                     .kv_dtype = config_.kv_dtype,
                     .summary_dtype = config_.kv_dtype});
  stored_ = backend_->Record({});
}

void AttentionRunner::Select(LayerIdx layer, const AttentionBatch& batch, ConstTensorView q) {
  int32_t last = 0;
  for (const int32_t pos : batch.positions) last = std::max(last, pos);
  const int rows = static_cast<int>(batch.positions.size()), blocks = last / config_.block_size + 1;
  const size_t words = Selection::Words(rows, config_.kv_heads, blocks);
  // A prompt's masks get longer as it is read, and to give up what a device reads is to wait for it.
  const bool host = backend_->shared_memory() == MemoryKind::kHost;
  if (!host) masks_now_ = (masks_now_ + 1) % masks_.size();
  Masks& masks = masks_[masks_now_];
  if (masks.uncounted) CountUncounted();
  WaitForMasks(masks);
  const size_t bytes = words * sizeof(uint64_t);
  if (masks.bits.size() < bytes) ops::Grow(*backend_, host ? bytes : 2 * bytes, backend_->shared_memory(), &masks.bits);
  masks.selection.Reset(rows, config_.kv_heads, blocks, {masks.bits.as<uint64_t>(), words});
  const SelectInput input = {backend_, {}, &select_scratch_, q, batch.positions, state_begin_, states_of_layer_};
  const BlockSelector& selector = batch.prefill ? *prefill_selector_ : *selector_;
  selector.Select(input, &masks.selection);
  const bool asks = AsksDevice(selector, blocks);
  ahead_ = asks && PlansAhead(batch, blocks);
  masks.complete = !ahead_;
  if (asks && !ahead_) backend_->Synchronize({});
}

// The masks to where the device reads them.
void AttentionRunner::StageMasks() {
  Masks& masks = masks_[masks_now_];
  const size_t bytes =
      Selection::Words(selection().rows(), selection().kv_heads(), selection().words() * 64) * sizeof(uint64_t);
  if (masks_on_device_.size() < bytes) ops::Grow(*backend_, 2 * bytes, backend_->compute_memory(), &masks_on_device_);
  backend_->Copy(masks_on_device_.data(), masks.bits.data(), bytes, {});
  masks.copied = backend_->Record({});
  masks.copying = true;
}

// Whether the host plans for every block some row may read, and leaves it to the masks which are. A look at them costs
// the host's wait for the selection, all the while no block is on its way. It would spare the blocks that no row reads:
// of a chunk with several rows to a block few, and on a device without a tier below they cost their copy alone.
bool AttentionRunner::PlansAhead(const AttentionBatch& batch, int blocks) const {
  constexpr int kRowsToABlock = 4;
  if (HostAddressable(backend_->compute_memory()) || store_->has_cold_tier() || batch.record != nullptr) return false;
  return std::all_of(batch.segments.begin(), batch.segments.end(),
                     [&](const Segment& segment) { return segment.rows >= kRowsToABlock * blocks; });
}

// For the copy of the masks, and so for what made them.
void AttentionRunner::WaitForMasks(Masks& masks) {
  if (masks.copying) backend_->Wait(masks.copied);
  masks.copying = false;
}

void AttentionRunner::CountUncounted() {
  for (size_t i = 1; i <= masks_.size(); ++i) {  // the oldest first
    Masks& masks = masks_[(masks_now_ + i) % masks_.size()];
    if (!masks.uncounted) continue;
    if (!masks.complete) WaitForMasks(masks);
    CountLocality(masks);
    masks.uncounted = false;
  }
}

void AttentionRunner::CountLocality(const Masks& masks) {
  LocalityStats& stats = masks.prefill ? prefill_locality_ : decode_locality_;
  for (const Segment& segment : masks.segments) {
    if (static_cast<size_t>(segment.seq.value) >= traces_.size())
      traces_.resize(static_cast<size_t>(segment.seq.value) + 1);
    SequenceTrace& trace = traces_[static_cast<size_t>(segment.seq.value)];
    trace.last.resize(static_cast<size_t>(store_->layout().lanes()));
    for (int g = 0; g < config_.kv_heads; ++g) {
      std::vector<uint64_t>& last = trace.last[static_cast<size_t>(store_->layout().Lane(masks.layer, g))];
      for (int i = 0; i < segment.rows; ++i) {
        const std::span<const uint64_t> now = masks.selection.Mask(segment.row_begin + i, g);
        const int count = CountBits(now);
        const int visible = (segment.first_pos + i) / config_.block_size + 1;
        if (!last.empty() && count < visible) {
          int shared = 0;
          for (size_t w = 0; w < std::min(last.size(), now.size()); ++w) shared += std::popcount(last[w] & now[w]);
          stats.shared += static_cast<double>(shared) / count;
          ++stats.queries;
          if (!masks.prefill) {
            trace.decode.shared += static_cast<double>(shared) / count;
            ++trace.decode.queries;
          }
        }
        last.assign(now.begin(), now.end());
      }
    }
  }
}

void AttentionRunner::PrepareStates() {
  const size_t heads = static_cast<size_t>(demand_.states) * static_cast<size_t>(config_.group());
  const size_t dim = static_cast<size_t>(store_->layout().v_dim);
  const size_t bytes = heads * (2 + dim) * sizeof(float);
  if (state_buffer_.size() < bytes) ops::Grow(*backend_, bytes + bytes / 4, backend_->compute_memory(), &state_buffer_);
  float* base = state_buffer_.as<float>();
  states_ = {.m = base,
             .l = base + heads,
             .acc = base + 2 * heads,
             .count = demand_.states,
             .heads = config_.group(),
             .v_dim = static_cast<int>(dim)};
  ops::reset_states(*backend_, {}, {.states = states_});
}

// What the eviction policy is told: the selector's query-agnostic score of the block, as far as its windows are
// complete.
float AttentionRunner::Hint(const AttentionBatch& batch, const Reader& reader) const {
  const Segment& segment = batch.segments[static_cast<size_t>(reader.segment)];
  const ops::WindowState& state =
      states_of_layer_[static_cast<size_t>(state_begin_[static_cast<size_t>(segment.row_begin)] + reader.kv_head)];
  const int last = segment.first_pos + segment.rows - 1;
  const bool forced =
      reader.block < config_.init_blocks || reader.block >= last / config_.block_size - config_.local_blocks;
  if (forced) return std::numeric_limits<float>::infinity();
  // Fetching the scores from a device would make every layer wait for them: there the policy goes by use alone.
  if (state.sigma == nullptr || !HostAddressable(backend_->compute_memory())) return 0;
  const int per_block = config_.windows_per_block();
  float best = -std::numeric_limits<float>::infinity();
  const int end = std::min(per_block * (reader.block + 1), config_.WindowsOf(last + 1));
  for (int w = std::max(0, per_block * reader.block - 1); w < end; ++w) best = std::max(best, state.sigma[w]);
  return best;
}

void AttentionRunner::PlanFetch(LayerIdx layer, const AttentionBatch& batch) {
  wants_.clear();
  reader_of_want_.clear();
  open_readers_.clear();
  for (size_t i = 0; i < demand_.readers.size(); ++i) {
    const Reader& reader = demand_.readers[i];
    const SeqId seq = batch.segments[static_cast<size_t>(reader.segment)].seq;
    if (reader.block >= store_->sealed_blocks(seq)) {
      open_readers_.push_back(static_cast<int32_t>(i));
      continue;
    }
    wants_.push_back(
        {store_->layout().Lane(layer, reader.kv_head), store_->page(seq, BlockId(reader.block)), Hint(batch, reader)});
    reader_of_want_.push_back(static_cast<int32_t>(i));
  }
}

void AttentionRunner::AddTile(const AttentionBatch& batch, const Reader& reader, const std::byte* block) {
  const kv::BlockLayout& layout = store_->layout();
  const Segment& segment = batch.segments[static_cast<size_t>(reader.segment)];
  const int first_pos = reader.block * layout.block_size;
  const int tokens = std::min(layout.block_size, segment.first_pos + segment.rows - first_pos);
  tiles_.push_back({layout.K(block), layout.V(block), traits_.bias ? layout.S(block) : nullptr, reader.kv_head,
                    first_pos, tokens, reader.ref_begin, reader.ref_count});
}

// Cuts the tiles of a piece into groups for threads. A running state is visited in block order, so a group there is one
// KV head and a range of rows, with every block; parts are independent.
void AttentionRunner::GroupTiles() {
  groups_.assign(1, 0);
  const int32_t rows = selection().rows();
  const int pieces = 2 * backend_->threads();
  if (demand_.mode == StateMode::kParts) {
    const int step = std::max(1, static_cast<int>(piece_.size()) / (4 * pieces));
    for (int i = step; i < static_cast<int>(piece_.size()); i += step) groups_.push_back(i);
    groups_.push_back(static_cast<int32_t>(piece_.size()));
    return;
  }
  // A device shares out the rows of a group by itself: one for each KV head and sequence.
  if (demand_.masked) {
    for (size_t i = 1; i < piece_.size(); ++i) {
      if (piece_[i].kv_head != piece_[i - 1].kv_head || piece_[i].ref_begin != piece_[i - 1].ref_begin)
        groups_.push_back(static_cast<int32_t>(i));
    }
    groups_.push_back(static_cast<int32_t>(piece_.size()));
    return;
  }
  std::vector<ops::AttentionTile> cut;
  for (size_t begin = 0; begin < piece_.size();) {
    size_t end = begin;
    while (end < piece_.size() && piece_[end].kv_head == piece_[begin].kv_head) ++end;
    for (int piece = 0; piece < pieces; ++piece) {
      const int32_t first = rows * piece / pieces, last = rows * (piece + 1) / pieces;
      for (size_t i = begin; i < end; ++i) {
        const auto refs = demand_.refs.begin() + piece_[i].ref_begin;
        const auto low = std::lower_bound(refs, refs + piece_[i].ref_count, first,
                                          [](const auto& ref, int32_t row) { return ref.row < row; });
        const auto high = std::lower_bound(low, refs + piece_[i].ref_count, last,
                                           [](const auto& ref, int32_t row) { return ref.row < row; });
        if (low == high) continue;
        cut.push_back(piece_[i]);
        cut.back().ref_begin = static_cast<int32_t>(low - demand_.refs.begin());
        cut.back().ref_count = static_cast<int32_t>(high - low);
      }
      if (static_cast<int32_t>(cut.size()) > groups_.back()) groups_.push_back(static_cast<int32_t>(cut.size()));
    }
    begin = end;
  }
  piece_.swap(cut);
}

// Copies of the tiles' blocks in compute memory, one behind the other; the tiles then read those.
void AttentionRunner::StageBlocks(std::span<ops::AttentionTile> tiles) {
  const kv::BlockLayout& layout = store_->layout();
  const size_t stride = RoundUp(layout.BlockBytes(), kStagedAlignment);
  constexpr size_t kCopyUnit = 16;  // what frames are padded to, or more
  StagedPiece& piece = staged_[next_staged_];
  if (piece.used) {
    backend_->Wait(piece.filled);  // the list may be written again
    backend_->WaitOn(kCopies, piece.read);
  }
  const size_t list_bytes = kCopyUnit + tiles.size() * sizeof(ops::BlockCopy);
  if (piece.list.size() < list_bytes) ops::Grow(*backend_, 2 * list_bytes, backend_->shared_memory(), &piece.list);
  ops::Grow(*backend_, std::max(kPieceBytes, stride), backend_->compute_memory(), &piece.blocks);
  auto* count = reinterpret_cast<int32_t*>(piece.list.data());
  auto* copies = reinterpret_cast<ops::BlockCopy*>(piece.list.data() + kCopyUnit);
  *count = static_cast<int32_t>(tiles.size());
  std::byte* to = piece.blocks.data();
  bool fresh = false;
  for (ops::AttentionTile& tile : tiles) {
    fresh |= tile.first_pos + layout.block_size > fresh_;
    const auto* from = static_cast<const std::byte*>(tile.k);
    NOSA_DCHECK(reinterpret_cast<uintptr_t>(from) % kCopyUnit == 0, "a frame that is not aligned");
    *copies++ = {from, to};
    tile.k = layout.K(to);
    tile.v = layout.V(to);
    if (tile.s != nullptr) tile.s = layout.S(to);
    to += stride;
  }
  // Blocks that this call's rows are not in need not wait for them.
  backend_->WaitOn(kCopies, fresh ? stored_ : begun_);
  ops::copy_blocks(*backend_, kCopies,
                   {.copies = reinterpret_cast<const ops::BlockCopy*>(piece.list.data() + kCopyUnit),
                    .count = count,
                    .most = *count,
                    .bytes = RoundUp(layout.BlockBytes(), kCopyUnit)});
  piece.filled = backend_->Record(kCopies);
  piece.used = true;
  backend_->WaitOn({}, piece.filled);
}

// Computes on the tiles at hand, one per block, in as many calls as the memory for copies of their blocks asks for: in
// their order, so that running states meet their blocks ascending.
void AttentionRunner::RunTiles(const AttentionBatch& batch, ConstTensorView q) {
  const bool stage = backend_->shared_memory() != backend_->compute_memory();
  const size_t most = stage
                          ? std::max<size_t>(1, kPieceBytes / RoundUp(store_->layout().BlockBytes(), kStagedAlignment))
                          : tiles_.size();
  const std::span<const uint64_t> masks =
      demand_.masked ? std::span<const uint64_t>(
                           masks_on_device_.as<uint64_t>(),
                           Selection::Words(selection().rows(), selection().kv_heads(), selection().words() * 64))
                     : std::span<const uint64_t>();
  for (size_t begin = 0; begin < tiles_.size(); begin += most) {
    piece_.assign(tiles_.begin() + static_cast<std::ptrdiff_t>(begin),
                  tiles_.begin() + static_cast<std::ptrdiff_t>(std::min(begin + most, tiles_.size())));
    if (stage) StageBlocks(piece_);
    GroupTiles();
    ops::block_attention(*backend_, {},
                         {.q = q,
                          .positions = batch.positions,
                          .tiles = piece_,
                          .refs = demand_.refs,
                          .groups = groups_,
                          .states = states_,
                          .dtype = config_.kv_dtype,
                          .block_size = config_.block_size,
                          .scale = config_.scale(),
                          .masks = masks,
                          .mask_words = selection().words()});
    if (stage) {
      staged_[next_staged_].read = backend_->Record({});
      next_staged_ = (next_staged_ + 1) % kStagedPieces;
    }
  }
  tiles_.clear();
}

Status AttentionRunner::Attend(LayerIdx layer, const AttentionBatch& batch, ConstTensorView q) {
  PlanFetch(layer, batch);
  const bool parts = demand_.mode == StateMode::kParts;
  kv::BlockFetch fetch(*store_, parts ? kv::BlockFetch::Order::kAny : kv::BlockFetch::Order::kAscending);
  fetch.Start(wants_);
  tiles_.clear();
  const auto add_open = [&] {
    for (const int32_t i : open_readers_) {
      const Reader& reader = demand_.readers[static_cast<size_t>(i)];
      const SeqId seq = batch.segments[static_cast<size_t>(reader.segment)].seq;
      AddTile(batch, reader,
              store_->OpenBlock(seq, store_->layout().Lane(layer, reader.kv_head), BlockId(reader.block)));
    }
  };
  // Open blocks are the last of their sequences: first when order does not matter, last when it does.
  if (parts) add_open();
  for (;;) {
    NOSA_ASSIGN_OR_RETURN(const std::span<const int32_t> ready, fetch.Next());
    if (ready.empty()) break;
    for (const int32_t want : ready) {
      AddTile(batch, demand_.readers[static_cast<size_t>(reader_of_want_[static_cast<size_t>(want)])],
              fetch.Block(want));
    }
    RunTiles(batch, q);
    fetch.Release(ready);
  }
  if (!parts) add_open();
  RunTiles(batch, q);
  return Status::Ok();
}

}  // namespace nosa::attention
