// Where the KV blocks of one sequence are, as plain data: what a map of the cache is drawn from.
#pragma once

#include <cstdint>
#include <vector>

#include "engine/request.h"

namespace nosa::engine {

struct CacheMap {
  uint64_t answer_id = 0;
  int tokens = 0, block_size = 0, layers = 0, kv_heads = 0;
  struct Block {
    uint16_t fast_lanes = 0;          // of layers x kv_heads lanes, how many hold this block in the fastest tier now
    uint32_t selected = 0;            // lanes that selected it in the last step
    uint32_t last_step = UINT32_MAX;  // steps ago that any lane last selected it; UINT32_MAX: never
    bool tail = false;
    bool shared = false;  // a page other sequences use too
  };
  std::vector<Block> blocks = {};     // oldest first
  double locality = 0, hit_rate = 0;  // of the last steps
};

class Engine;

// Of a request that has not finished; answer_id is the caller's to set. On the engine's thread.
CacheMap MapCache(const Engine& engine, RequestId id);

}  // namespace nosa::engine
