// Ranges of numbers as digits. Private to the text room.
#pragma once

#include <cstdint>

#include "text/grammar_expr.h"

namespace nosa::text {

// The largest integer that is written, in magnitude: JsonRules::kMostDigits nines.
inline constexpr int64_t kLargestInteger = 999'999'999'999'999'999;

// The integers from `least` to `most`, without leading zeros, 0 without a sign. Both within kLargestInteger.
ExprPtr IntegerRange(int64_t least, int64_t most);

struct Bound {
  int64_t value = 0;
  bool included = true;
};
// The numbers between two integers, with an optional fraction and no exponent.
ExprPtr NumberRange(Bound least, Bound most);

}  // namespace nosa::text
