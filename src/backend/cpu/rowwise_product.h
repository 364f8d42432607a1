// Products whose rows do not see each other: ops::ProductArgs::Mode::kRowwise.
#pragma once

#include "backend/cpu/cpu_backend.h"
#include "ops/product.h"

namespace nosa::cpu {

// y[m, n] is one dot product, added up in an order that K and the instruction set fix: lane by lane over K, then across
// the lanes. Neither M, nor the tile a row fell into, nor threads change a bit of it.
void RowwiseProduct(CpuContext& context, const ops::ProductArgs& args);

}  // namespace nosa::cpu
