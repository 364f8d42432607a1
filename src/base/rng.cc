#include "base/rng.h"

#include <cmath>
#include <numbers>

namespace nosa {

float Philox::Normal(uint64_t counter) const {
  const auto words = Block(counter);
  const double u1 = (static_cast<double>(words[0]) + 1.0) * 0x1p-32;  // (0, 1]: log stays finite
  const double u2 = static_cast<double>(words[1]) * 0x1p-32;
  return static_cast<float>(std::sqrt(-2.0 * std::log(u1)) * std::cos(2.0 * std::numbers::pi * u2));
}

}  // namespace nosa
