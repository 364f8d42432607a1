// Moves every seat to its next token.
#pragma once

#include "ops/ops.h"

namespace nosa::ops {

// positions[r] += 1 where it is not -1; *step += 1.
struct AdvanceSeatsArgs {
  int32_t* positions = nullptr;  // [seats]
  int seats = 0;
  int32_t* step = nullptr;  // [1]
};

}  // namespace nosa::ops
