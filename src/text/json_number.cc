#include "text/json_number.h"

#include <algorithm>
#include <string>

#include "text/json_rules.h"

namespace nosa::text {
namespace {

ExprPtr Digit(char first, char last) { return Class({{static_cast<char32_t>(first), static_cast<char32_t>(last)}}); }
ExprPtr AnyDigits(size_t n) { return Repeat(Digit('0', '9'), static_cast<int>(n), static_cast<int>(n)); }
ExprPtr Nothing() { return Choice({}); }

// Digit strings of one length, from a to b.
ExprPtr Between(const std::string& a, const std::string& b) {
  if (a == b) return Literal(a);
  const std::string low = a.substr(1), high = b.substr(1);
  if (a[0] == b[0]) return Sequence({Digit(a[0], a[0]), Between(low, high)});
  const std::string nines(low.size(), '9'), zeros(low.size(), '0');
  char first = a[0], last = b[0];
  std::vector<ExprPtr> choices;
  if (low != zeros) {
    choices.push_back(Sequence({Digit(first, first), Between(low, nines)}));
    ++first;
  }
  if (high != nines) {
    choices.push_back(Sequence({Digit(last, last), Between(zeros, high)}));
    --last;
  }
  if (first <= last) choices.push_back(Sequence({Digit(first, last), AnyDigits(low.size())}));
  return Choice(std::move(choices));
}

// 0 <= least, most <= kLargestInteger.
ExprPtr Magnitudes(int64_t least, int64_t most) {
  std::vector<ExprPtr> choices;
  for (int64_t begin = 0, end = 9;; begin = end + 1, end = end * 10 + 9) {
    const int64_t from = std::max(least, begin), to = std::min(most, end);
    if (from <= to) choices.push_back(Between(std::to_string(from), std::to_string(to)));
    // Before the step to numbers that are one digit longer: of nineteen, not all fit.
    if (end >= most) break;
  }
  return Choice(std::move(choices));
}

// Magnitudes with a fraction, 0 <= least.
ExprPtr Fractions(Bound least, Bound most) {
  const ExprPtr digits = Repeat(Digit('0', '9'), 1, JsonRules::kMostFraction);
  const ExprPtr zeros = Repeat(Literal("0"), 1, JsonRules::kMostFraction);
  const ExprPtr positive = Sequence({Repeat(Digit('0', '9'), 0, JsonRules::kMostFraction - 1), Digit('1', '9')});
  const auto point = [](const ExprPtr& rest) { return Sequence({Literal("."), rest}); };
  std::vector<ExprPtr> choices;
  if (least.value < most.value) {
    const ExprPtr whole = Magnitudes(least.value, least.value);
    choices.push_back(Sequence({whole, least.included ? Optional(point(digits)) : point(positive)}));
    if (least.value + 1 < most.value)
      choices.push_back(Sequence({Magnitudes(least.value + 1, most.value - 1), Optional(point(digits))}));
  }
  if (most.included && (least.value < most.value || least.included))
    choices.push_back(Sequence({Magnitudes(most.value, most.value), Optional(point(zeros))}));
  return Choice(std::move(choices));
}

}  // namespace

ExprPtr IntegerRange(int64_t least, int64_t most) {
  if (least > most) return Nothing();
  std::vector<ExprPtr> choices;
  if (least < 0) choices.push_back(Sequence({Literal("-"), Magnitudes(std::max<int64_t>(1, -most), -least)}));
  if (most >= 0) choices.push_back(Magnitudes(std::max<int64_t>(0, least), most));
  return Choice(std::move(choices));
}

ExprPtr NumberRange(Bound least, Bound most) {
  if (least.value > most.value) return Nothing();
  std::vector<ExprPtr> choices;
  if (least.value < 0) {
    const Bound nearest = most.value < 0 ? Bound{-most.value, most.included} : Bound{0, false};
    choices.push_back(Sequence({Literal("-"), Fractions(nearest, {-least.value, least.included})}));
  }
  if (most.value >= 0) choices.push_back(Fractions(least.value < 0 ? Bound{} : least, most));
  return Choice(std::move(choices));
}

}  // namespace nosa::text
