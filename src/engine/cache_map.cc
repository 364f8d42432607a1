#include "engine/cache_map.h"

#include "engine/engine.h"

namespace nosa::engine {

CacheMap MapCache(const Engine& engine, RequestId id) {
  const schema::ModelConfig& config = engine.model().config();
  CacheMap map;
  map.tokens = static_cast<int>(engine.tokens(id).size());
  map.block_size = engine.store().layout().block_size;
  map.layers = config.num_layers;
  map.kv_heads = config.num_kv_heads;
  return map;
}

}  // namespace nosa::engine
