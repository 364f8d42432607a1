#include "attention/demand.h"

namespace nosa::attention {
namespace {

// Counts the readers of each block of one segment and head, then places the refs.
void AddReaders(const Selection& selection, const Segment& segment, int segment_index, int g,
                std::vector<int32_t>* counts, Demand* demand) {
  const int blocks = selection.words() * 64;
  counts->assign(static_cast<size_t>(blocks) + 1, 0);
  for (int r = segment.row_begin; r < segment.row_begin + segment.rows; ++r) {
    ForEachBit(selection.Mask(r, g), [&](int b) { ++(*counts)[static_cast<size_t>(b)]; });
  }
  int32_t next = static_cast<int32_t>(demand->refs.size());
  for (int b = 0; b < blocks; ++b) {
    int32_t& count = (*counts)[static_cast<size_t>(b)];
    if (count == 0) continue;
    demand->readers.push_back({g, segment_index, b, next, count});
    const int32_t begin = next;
    next += count;
    count = begin;  // from here on: where this block's next ref goes
  }
  demand->refs.resize(static_cast<size_t>(next));
  for (int r = segment.row_begin; r < segment.row_begin + segment.rows; ++r) {
    const int32_t slot = r * selection.kv_heads() + g;
    int32_t state = demand->mode == StateMode::kRunning ? slot : demand->offsets[static_cast<size_t>(slot)];
    ForEachBit(selection.Mask(r, g), [&](int b) {
      demand->refs[static_cast<size_t>((*counts)[static_cast<size_t>(b)]++)] = {r, state};
      if (demand->mode == StateMode::kParts) ++state;
    });
  }
}

// The blocks that some row of the segment reads.
void AddMaskedReaders(const Selection& selection, const Segment& segment, int segment_index, int g,
                      std::vector<uint64_t>* any, Demand* demand) {
  any->assign(static_cast<size_t>(selection.words()), 0);
  for (int r = segment.row_begin; r < segment.row_begin + segment.rows; ++r) {
    const std::span<const uint64_t> mask = selection.Mask(r, g);
    for (size_t w = 0; w < mask.size(); ++w) (*any)[w] |= mask[w];
  }
  ForEachBit(*any, [&](int b) { demand->readers.push_back({g, segment_index, b, segment.row_begin, segment.rows}); });
}

// A state for every row and KV head.
void UseRunningStates(int slots, Demand* demand) {
  demand->mode = StateMode::kRunning;
  demand->offsets.clear();
  for (int i = 0; i <= slots; ++i) demand->offsets.push_back(i);
  demand->states = slots;
}

void OrderStates(Demand* demand) {
  demand->order.resize(static_cast<size_t>(demand->states));
  for (size_t i = 0; i < demand->order.size(); ++i) demand->order[i] = static_cast<int32_t>(i);
}

}  // namespace

void BuildDemand(const Selection& selection, std::span<const Segment> segments, Demand* demand, bool masked) {
  const int slots = selection.rows() * selection.kv_heads();
  int64_t parts = 0;
  demand->offsets.assign(1, 0);
  for (int i = 0; i < slots; ++i) {
    parts += CountBits(selection.Mask(i / selection.kv_heads(), i % selection.kv_heads()));
    if (parts <= kMostParts) demand->offsets.push_back(static_cast<int32_t>(parts));
  }
  demand->mode = StateMode::kParts;
  demand->states = parts;
  if (parts > kMostParts) UseRunningStates(slots, demand);
  OrderStates(demand);
  demand->readers.clear();
  demand->refs.clear();
  demand->masked = masked && demand->mode == StateMode::kRunning;
  std::vector<int32_t> counts;
  std::vector<uint64_t> any;
  for (int g = 0; g < selection.kv_heads(); ++g) {
    for (size_t s = 0; s < segments.size(); ++s) {
      if (demand->masked) {
        AddMaskedReaders(selection, segments[s], static_cast<int>(s), g, &any, demand);
      } else {
        AddReaders(selection, segments[s], static_cast<int>(s), g, &counts, demand);
      }
    }
  }
}

void BuildWholeDemand(int rows, int kv_heads, int block_size, std::span<const Segment> segments, Demand* demand) {
  UseRunningStates(rows * kv_heads, demand);
  OrderStates(demand);
  demand->readers.clear();
  demand->refs.clear();
  demand->masked = true;
  for (int g = 0; g < kv_heads; ++g) {
    for (size_t s = 0; s < segments.size(); ++s) {
      const Segment& segment = segments[s];
      const int last = (segment.first_pos + segment.rows - 1) / block_size;
      for (int b = 0; b <= last; ++b) {
        demand->readers.push_back({g, static_cast<int32_t>(s), b, segment.row_begin, segment.rows});
      }
    }
  }
}

}  // namespace nosa::attention
