// Empties partial attention states before the first part is merged into them.
#pragma once

#include "ops/ops.h"
#include "ops/partial_state.h"

namespace nosa::ops {

// Makes every state empty.
struct ResetStatesArgs {
  PartialStates states;
};

}  // namespace nosa::ops
