// f32 rows rounded to bf16, in parallel.
#pragma once

#include "backend/cpu/cpu_backend.h"

namespace nosa::cpu {

// y: packed, as many elements as x ([M, K] f32) has.
void RoundRows(CpuContext& context, ConstTensorView x, BFloat16* y);

}  // namespace nosa::cpu
