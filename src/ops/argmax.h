// The largest logit of each row.
#pragma once

#include <span>

#include "base/ids.h"
#include "ops/ops.h"

namespace nosa::ops {

// ids[r] = the lowest index of the largest logit of row r. NaN never wins; a row of NaN gives 0.
struct ArgmaxArgs {
  ConstTensorView logits;  // [R, V] f32
  std::span<TokenId> ids;  // [R]
};

}  // namespace nosa::ops
