// Writes the keys, values and importance of new tokens into the cache.
#pragma once

#include <span>

#include "ops/kv_rows.h"
#include "ops/ops.h"

namespace nosa::ops {

// Writes keys, values and importance of new tokens into their cache rows, rounded to the cache's dtype.
struct StoreKvArgs {
  ConstTensorView k;            // [M, G, D] f32, after RoPE
  ConstTensorView v;            // [M, G, Dv] f32
  ConstTensorView s;            // [M, G] f32; empty: rows' s must be null or is set to 0
  std::span<const KvRow> rows;  // [M * G], row m * G + g
  DType dtype = DType::kF32;    // of k and v in the cache: f32 or bf16
};

}  // namespace nosa::ops
