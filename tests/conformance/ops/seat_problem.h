// Frames and seats for the tests of the decode ops (ops/seats.h).
#pragma once

#include <algorithm>
#include <cstring>
#include <numeric>

#include "op_test.h"
#include "ops/seats.h"

namespace nosa::ops {

// A frame as kv::FrameOf lays it out.
inline BlockFrame MakeFrame(int block, int k_dim, int v_dim, DType dtype, bool importance) {
  const size_t rows = static_cast<size_t>(block);
  const size_t k = rows * static_cast<size_t>(k_dim) * DTypeBytes(dtype);
  const size_t v = rows * static_cast<size_t>(v_dim) * DTypeBytes(dtype);
  const size_t s = RoundUp(k + v, sizeof(float));
  return {.block_size = block,
          .k_dim = k_dim,
          .v_dim = v_dim,
          .dtype = dtype,
          .v_offset = k,
          .s_offset = importance ? s : 0,
          .bytes = RoundUp(s + (importance ? rows * sizeof(float) : 0), 16)};
}

// [0, n), the same for the same stream and counter.
inline int Draw(const Philox& rng, uint64_t counter, int n) {
  return static_cast<int>(rng.Block(counter)[0] % static_cast<uint32_t>(n));
}

// `count` different numbers below `n`, ascending.
inline std::vector<int32_t> DrawSet(const Philox& rng, uint64_t counter, int n, int count) {
  std::vector<int32_t> all(static_cast<size_t>(n));
  std::iota(all.begin(), all.end(), 0);
  for (int i = 0; i < count; ++i) {
    std::swap(all[static_cast<size_t>(i)],
              all[static_cast<size_t>(i + Draw(rng, counter * 4096 + static_cast<uint64_t>(i), n - i))]);
  }
  all.resize(static_cast<size_t>(count));
  std::sort(all.begin(), all.end());
  return all;
}

}  // namespace nosa::ops
