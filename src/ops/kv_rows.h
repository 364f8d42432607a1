// Where the cached key, value and importance of one token and KV head lie. Computed by kv::BlockLayout.
#pragma once

namespace nosa::ops {

struct KvRow {
  void* k = nullptr;   // [D] of the cache's dtype
  void* v = nullptr;   // [Dv] of the cache's dtype
  float* s = nullptr;  // one importance; null when the cache keeps none
};

}  // namespace nosa::ops
