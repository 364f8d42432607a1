#include "kv/seat_store.h"

#include <algorithm>

#include "base/check.h"

namespace nosa::kv {
namespace {

struct Sizes {
  uint64_t frames, table, pages, positions;
};

Sizes SizesOf(const SeatOptions& options) {
  const uint64_t lanes = static_cast<uint64_t>(options.layout.lanes()) * static_cast<uint64_t>(options.seats);
  const uint64_t slots = static_cast<uint64_t>(options.slots);
  return {lanes * (slots + 1) * FrameOf(options.layout).bytes, std::max<uint64_t>(lanes * slots, 1) * sizeof(int32_t),
          lanes * static_cast<uint64_t>(options.layout.Blocks(options.max_tokens)) * sizeof(std::byte*),
          static_cast<uint64_t>(options.seats) * sizeof(int32_t)};
}

}  // namespace

ops::BlockFrame FrameOf(const BlockLayout& layout) {
  const size_t keys_and_values = RoundUp(layout.KBytes() + layout.VBytes(), sizeof(float));
  return {.block_size = layout.block_size,
          .k_dim = layout.k_dim,
          .v_dim = layout.v_dim,
          .dtype = layout.dtype,
          .v_offset = layout.KBytes(),
          .s_offset = layout.has_importance ? keys_and_values : 0,
          .bytes = RoundUp(layout.BlockBytes(), 16)};
}

SeatStore::SeatStore(const SeatOptions& options, ops::Backend* backend)
    : options_(options),
      frame_(FrameOf(options.layout)),
      max_blocks_(options.layout.Blocks(options.max_tokens)),
      backend_(backend),
      touched_(static_cast<size_t>(options.layout.layers * options.seats)),
      housed_(static_cast<size_t>(options.seats)) {}

uint64_t SeatStore::DeviceBytes(const SeatOptions& options) {
  const Sizes sizes = SizesOf(options);
  return sizes.frames + 2 * sizes.table + sizes.pages + sizes.positions + sizeof(int32_t);
}

Result<std::unique_ptr<SeatStore>> SeatStore::Create(const SeatOptions& options, ops::Backend* backend) {
  NOSA_CHECK(options.seats > 0 && options.slots >= 0 && options.max_tokens > 0, "{} seats of {} slots and {} tokens",
             options.seats, options.slots, options.max_tokens);
  std::unique_ptr<SeatStore> store(new SeatStore(options, backend));
  const Sizes sizes = SizesOf(options);
  const MemoryKind device = backend->compute_memory(), shared = backend->shared_memory();
  NOSA_ASSIGN_OR_RETURN(store->frames_, backend->Allocate(sizes.frames, device));
  NOSA_ASSIGN_OR_RETURN(store->blocks_, backend->Allocate(sizes.table, device));
  NOSA_ASSIGN_OR_RETURN(store->used_, backend->Allocate(sizes.table, device));
  NOSA_ASSIGN_OR_RETURN(store->pages_, backend->Allocate(sizes.pages, device));
  NOSA_ASSIGN_OR_RETURN(store->positions_, backend->Allocate(sizes.positions, device));
  NOSA_ASSIGN_OR_RETURN(store->step_, backend->Allocate(sizeof(int32_t), device));
  NOSA_ASSIGN_OR_RETURN(store->host_pages_, backend->Allocate(sizes.pages, shared));
  NOSA_ASSIGN_OR_RETURN(store->host_positions_, backend->Allocate(sizes.positions + sizeof(int32_t), shared));
  NOSA_ASSIGN_OR_RETURN(store->host_empty_, backend->Allocate(sizes.table, shared));
  std::fill_n(store->host_empty_.as<int32_t>(), sizes.table / sizeof(int32_t), -1);
  std::fill_n(store->host_positions_.as<int32_t>(), options.seats, -1);
  int32_t* first_step = store->host_positions_.as<int32_t>() + options.seats;
  *first_step = 1;
  backend->Copy(store->step(), first_step, sizeof(int32_t), {});
  backend->Copy(store->positions_data(), store->host_positions_.data(), sizes.positions, {});
  backend->Copy(store->blocks_.data(), store->host_empty_.data(), sizes.table, {});
  store->Flush();
  return store;
}

ops::SlotLanes SeatStore::Lanes(LayerIdx layer) const {
  const size_t lane = Index(0, layer.value * options_.layout.kv_heads), slots = static_cast<size_t>(options_.slots);
  return {.frames = frames_.data() + lane * (slots + 1) * frame_.bytes,
          .blocks = options_.slots == 0 ? nullptr : blocks_.as<int32_t>() + lane * slots,
          .used = options_.slots == 0 ? nullptr : used_.as<int32_t>() + lane * slots,
          .pages = pages_.as<std::byte*>() + lane * static_cast<size_t>(max_blocks_),
          .seats = options_.seats,
          .kv_heads = options_.layout.kv_heads,
          .slots = options_.slots,
          .max_blocks = max_blocks_};
}

void SeatStore::Touch(int seat, int lane, size_t begin, size_t end) {
  changed_ = true;
  const int layer = lane / options_.layout.kv_heads;
  Range& range = touched_[static_cast<size_t>(layer * options_.seats + seat)];
  if (range.begin == range.end) range = {begin, end};
  range = {std::min(range.begin, begin), std::max(range.end, end)};
}

void SeatStore::Seat(int seat, int length) {
  NOSA_CHECK(seat >= 0 && seat < options_.seats, "seat {} of {}", seat, options_.seats);
  NOSA_CHECK(length >= 0 && length < options_.max_tokens, "a seat of {} tokens takes {}", options_.max_tokens, length);
  host_positions_.as<int32_t>()[seat] = length;
  housed_[static_cast<size_t>(seat)] = length / frame_.block_size;
  fresh_.push_back(seat);
  changed_ = true;
}

void SeatStore::Leave(int seat) {
  NOSA_CHECK(seat >= 0 && seat < options_.seats, "seat {} of {}", seat, options_.seats);
  host_positions_.as<int32_t>()[seat] = -1;
  // Who sits here next must not write to a home that is somebody else's by then.
  for (int lane = 0; lane < options_.layout.lanes(); ++lane) {
    std::byte** homes = Homes(seat, lane);
    std::fill_n(homes, max_blocks_, nullptr);
    const size_t first = Index(seat, lane) * static_cast<size_t>(max_blocks_);
    Touch(seat, lane, first, first + static_cast<size_t>(max_blocks_));
  }
  fresh_.push_back(seat);
}

void SeatStore::SetHome(int seat, int lane, BlockId block, std::byte* home) {
  NOSA_CHECK(seat >= 0 && seat < options_.seats && lane >= 0 && lane < options_.layout.lanes() && block.value >= 0 &&
                 block.value < max_blocks_,
             "seat {} of {}, lane {} of {}, block {} of {}", seat, options_.seats, lane, options_.layout.lanes(),
             block.value, max_blocks_);
  Homes(seat, lane)[block.value] = home;
  const size_t entry = Index(seat, lane) * static_cast<size_t>(max_blocks_) + static_cast<size_t>(block.value);
  Touch(seat, lane, entry, entry + 1);
}

void SeatStore::Flush() {
  for (Range& range : touched_) {
    if (range.begin == range.end) continue;
    backend_->Copy(pages_.as<std::byte*>() + range.begin, host_pages_.as<std::byte*>() + range.begin,
                   (range.end - range.begin) * sizeof(std::byte*), {});
    range = {};
  }
  const size_t slots = static_cast<size_t>(options_.slots), heads = static_cast<size_t>(options_.layout.kv_heads);
  for (const int seat : fresh_) {
    const int32_t* position = host_positions_.as<int32_t>() + seat;
    backend_->Copy(positions_.as<int32_t>() + seat, position, sizeof(int32_t), {});
    for (int layer = 0; layer < options_.layout.layers; ++layer) {
      const size_t lane = Index(seat, layer * options_.layout.kv_heads);
      if (slots > 0) {
        backend_->Copy(blocks_.as<int32_t>() + lane * slots, host_empty_.data(), heads * slots * sizeof(int32_t), {});
      }
      if (*position <= 0 || *position % frame_.block_size == 0) continue;
      for (size_t g = 0; g < heads; ++g) {
        const std::byte* home =
            Homes(seat, layer * options_.layout.kv_heads + static_cast<int>(g))[*position / frame_.block_size];
        std::byte* tail = frames_.data() + ((lane + g) * (slots + 1) + slots) * frame_.bytes;
        if (home != nullptr) backend_->Copy(tail, home, frame_.bytes, {});
      }
    }
  }
  fresh_.clear();
  changed_ = false;
  backend_->Synchronize({});
}

Status SeatStore::CountStep() {
  if (changed_) return FailedPrecondition("seats or homes were changed and not flushed to the device");
  int32_t* positions = host_positions_.as<int32_t>();
  for (int seat = 0; seat < options_.seats; ++seat) {
    const int32_t position = positions[seat];
    if (position < 0) continue;
    if (position >= options_.max_tokens) {
      return FailedPrecondition("seat {} has {} tokens, there is room for {}", seat, position, options_.max_tokens);
    }
    int& housed = housed_[static_cast<size_t>(seat)];
    const int block = position / frame_.block_size;
    if (housed > block) continue;
    for (int lane = 0; lane < options_.layout.lanes(); ++lane) {
      if (Homes(seat, lane)[block] != nullptr) continue;
      return FailedPrecondition("seat {} has no home for token {}: block {} of lane {}", seat, position, block, lane);
    }
    housed = block + 1;
  }
  for (int seat = 0; seat < options_.seats; ++seat) positions[seat] += positions[seat] >= 0 ? 1 : 0;
  return Status::Ok();
}

Result<SeatStore::SlotTable> SeatStore::ReadSlots(int seat) const {
  NOSA_CHECK(seat >= 0 && seat < options_.seats, "seat {} of {}", seat, options_.seats);
  const size_t heads = static_cast<size_t>(options_.layout.kv_heads), slots = static_cast<size_t>(options_.slots);
  const size_t entries = static_cast<size_t>(options_.layout.lanes()) * slots;
  NOSA_ASSIGN_OR_RETURN(const Buffer copy,
                        backend_->Allocate((2 * entries + 1) * sizeof(int32_t), backend_->shared_memory()));
  auto* blocks = copy.as<int32_t>();
  const size_t layer_bytes = heads * slots * sizeof(int32_t);
  for (int layer = 0; layer < options_.layout.layers && slots > 0; ++layer) {
    const size_t from = Index(seat, layer * options_.layout.kv_heads) * slots;
    int32_t* to = blocks + static_cast<size_t>(layer) * heads * slots;
    backend_->Copy(to, blocks_.as<int32_t>() + from, layer_bytes, {});
    backend_->Copy(to + entries, used_.as<int32_t>() + from, layer_bytes, {});
  }
  backend_->Copy(blocks + 2 * entries, step_.data(), sizeof(int32_t), {});
  backend_->Synchronize({});
  SlotTable table;
  table.blocks.assign(blocks, blocks + entries);
  table.used.assign(blocks + entries, blocks + 2 * entries);
  table.last_step = blocks[2 * entries] - 1;  // it says which step comes next
  return table;
}

}  // namespace nosa::kv
