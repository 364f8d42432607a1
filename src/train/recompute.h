// Activations that are computed again instead of kept.
#pragma once

#include <functional>

#include "train/aten.h"

namespace nosa::train {

// f(x), keeping x alone: what f computes on the way is computed again in the backward pass, where gradients of the
// parameters that f reads are added to their grad(). f computes the same each time it is called, and what it borrows
// outlives the backward pass. x requires a gradient, or nothing inside f gets one.
at::Tensor Recompute(std::function<at::Tensor(const at::Tensor&)> f, const at::Tensor& x);

}  // namespace nosa::train
