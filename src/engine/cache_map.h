// Where the KV blocks of one sequence are, as plain data: what a map of the cache is drawn from.
#pragma once

#include <cstdint>
#include <vector>

namespace nosa::engine {

struct CacheMap {
  uint64_t answer_id = 0;
  int tokens = 0, block_size = 0, layers = 0, kv_heads = 0;
  // The sequence is in a seat of a device: its fastest tier is the device's slots. Else it is RAM.
  bool seated = false;
  struct Block {
    uint16_t fast_lanes = 0;          // of layers x kv_heads lanes, how many hold this block in the fastest tier now
    uint32_t selected = 0;            // lanes that selected it in the last step
    uint32_t last_step = UINT32_MAX;  // steps ago that any lane last selected it; UINT32_MAX: longer than is known
    bool tail = false;                // it still grows
    bool shared = false;              // a page other sequences use too; their steps count for last_step
  };
  std::vector<Block> blocks = {};  // oldest first
  // Share of the blocks of a step that the step before read too: mean over this sequence's (step, layer, KV head),
  // `queries` of them; 1 when there are none. Not known of steps in a seat.
  double locality = 1;
  int64_t queries = 0;
  double hit_rate = 1;  // of all sequences: blocks found in the fastest tier, of those asked for there
};

}  // namespace nosa::engine
