#include "engine/cache_map.h"

#include <algorithm>

#include "engine/engine.h"
#include "engine/sequence.h"

namespace nosa::engine {
namespace {

// Of steps that the host planned: the store has seen what each pass read.
void AddPlaces(const std::vector<kv::BlockPlace>& places, CacheMap* map) {
  // The last pass of this sequence: it read the blocks before its tail, if there are any.
  uint64_t newest = 0;
  for (const kv::BlockPlace& place : places) newest = std::max(newest, place.used_in);
  for (size_t i = 0; i < places.size(); ++i) {
    CacheMap::Block& block = map->blocks[i];
    block.fast_lanes = static_cast<uint16_t>(places[i].fast_lanes);
    block.last_step = static_cast<uint32_t>(std::min<uint64_t>(newest - places[i].used_in, UINT32_MAX - 1));
    block.shared = places[i].shared;
  }
}

void AddSelection(const model::SequenceTrace& trace, CacheMap* map) {
  for (const std::vector<uint64_t>& lane : trace.last) {
    model::ForEachBit(lane, [&](int b) {
      if (static_cast<size_t>(b) < map->blocks.size()) ++map->blocks[static_cast<size_t>(b)].selected;
    });
  }
}

// Of steps that the device planned, what its slots tell: a block that has none was read longer ago than they remember.
// Without slots blocks are read where they are, which no table tells of. The block of the last token is in the slot of
// tails, also when that token made it full.
void AddSlots(const kv::SeatStore::SlotTable& table, int slots, CacheMap* map) {
  const auto lanes = static_cast<uint16_t>(map->layers * map->kv_heads);
  for (CacheMap::Block& block : map->blocks) {
    block.fast_lanes = slots == 0 ? lanes : 0;
    block.last_step = UINT32_MAX;
  }
  if (!map->blocks.empty()) {
    CacheMap::Block& last = map->blocks.back();
    last.fast_lanes = lanes;
    last.selected = lanes;
    last.last_step = 0;
  }
  for (size_t i = 0; i < table.blocks.size(); ++i) {
    const int32_t b = table.blocks[i];
    if (b < 0 || static_cast<size_t>(b) >= map->blocks.size()) continue;
    CacheMap::Block& block = map->blocks[static_cast<size_t>(b)];
    const auto ago = static_cast<uint32_t>(table.last_step - table.used[i]);
    ++block.fast_lanes;
    block.selected += ago == 0 ? 1 : 0;
    block.last_step = std::min(block.last_step, ago);
  }
}

}  // namespace

std::optional<CacheMap> Engine::Map(RequestId id) const {
  const Sequence& sequence = At(id);
  if (!sequence.kv.valid()) return std::nullopt;
  const kv::BlockLayout& layout = store_->layout();
  CacheMap map;
  map.tokens = store_->length(sequence.kv);
  map.block_size = layout.block_size;
  map.layers = layout.layers;
  map.kv_heads = layout.kv_heads;
  map.seated = sequence.seat >= 0;
  map.blocks.resize(static_cast<size_t>(layout.Blocks(map.tokens)));
  if (map.tokens % layout.block_size != 0) {
    CacheMap::Block& tail = map.blocks.back();
    tail.tail = true;
    tail.fast_lanes = static_cast<uint16_t>(layout.lanes());
    tail.last_step = 0;
  }
  AddPlaces(store_->Places(sequence.kv), &map);
  kv::StoreStats kv = store_->stats();
  if (map.seated) {
    const Result<kv::SeatStore::SlotTable> table = seating_->ReadSlots(sequence);
    if (!table.ok()) return std::nullopt;
    const SeatingStats seats = seating_->stats();
    AddSlots(*table, seats.slots, &map);
    kv.lookups = seats.counters.selected;
    kv.hits = seats.counters.selected - seats.counters.missing;
  } else {
    const model::SequenceTrace& trace = runner_->trace(sequence.kv);
    AddSelection(trace, &map);
    map.locality = trace.decode.mean();
    map.queries = trace.decode.queries;
  }
  if (kv.lookups > 0) map.hit_rate = static_cast<double>(kv.hits) / static_cast<double>(kv.lookups);
  return map;
}

}  // namespace nosa::engine
