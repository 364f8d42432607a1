#include "text/jinja/operators.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "text/jinja/python_text.h"
#include "text/jinja/search.h"

namespace nosa::text::jinja {
namespace {

using Operation = Value (*)(const Value&, const Value&, Budget&);

// By reference: the call that computes `overflow` writes it.
Value CheckedInt(bool overflow, const int64_t& value) {
  if (overflow) Fail("an integer result does not fit 64 bits");
  return Value(value);
}

[[noreturn]] void Unsupported(std::string_view op, const Value& a, const Value& b) {
  if (a.is_undefined()) Fail("{}", a.WhyUndefined());
  if (b.is_undefined()) Fail("{}", b.WhyUndefined());
  Fail("{} does not work between {} and {}", op, TypeName(a), TypeName(b));
}

bool BothNumbers(const Value& a, const Value& b) { return a.is_number() && b.is_number(); }
bool BothInts(const Value& a, const Value& b) { return a.is_integral() && b.is_integral(); }

bool CanJoin(const Value& a, const Value& b) {
  return a.is_sequence() && b.is_sequence() && a.AsSequence().type == b.AsSequence().type &&
         (a.is_sequence(SequenceType::kList) || a.is_sequence(SequenceType::kTuple));
}

Value Add(const Value& a, const Value& b, Budget& budget) {
  int64_t sum = 0;
  if (BothInts(a, b)) return CheckedInt(__builtin_add_overflow(a.AsInt(), b.AsInt(), &sum), sum);
  if (BothNumbers(a, b)) return Value(a.AsDouble() + b.AsDouble());
  if (a.is_string() && b.is_string()) {
    budget.Bytes(a.AsString().size() + b.AsString().size());
    return Value(a.AsString() + b.AsString());
  }
  if (!CanJoin(a, b)) Unsupported("+", a, b);
  Values items = Iterate(a, budget);
  const Values& more = b.AsSequence().items;
  items.insert(items.end(), more.begin(), more.end());
  return MakeSequence(a.AsSequence().type, std::move(items), budget);
}

Value Subtract(const Value& a, const Value& b, Budget&) {
  int64_t difference = 0;
  if (BothInts(a, b)) return CheckedInt(__builtin_sub_overflow(a.AsInt(), b.AsInt(), &difference), difference);
  if (!BothNumbers(a, b)) Unsupported("-", a, b);
  return Value(a.AsDouble() - b.AsDouble());
}

Value Repeat(const Value& value, int64_t count, Budget& budget) {
  const auto times = static_cast<size_t>(std::max<int64_t>(count, 0));
  const auto charge = [&](size_t size) {
    if (size > 0) budget.Bytes(times > (size_t{1} << 50) / size ? size_t{1} << 60 : times * size);
    return size > 0 ? times : 0;
  };
  if (value.is_string()) {
    std::string text;
    for (size_t i = charge(value.AsString().size()); i > 0; --i) text += value.AsString();
    return Value(std::move(text));
  }
  Values items;
  const Values& one = value.AsSequence().items;
  for (size_t i = charge(one.size() * sizeof(Value)); i > 0; --i) items.insert(items.end(), one.begin(), one.end());
  return MakeSequence(value.AsSequence().type, std::move(items), budget);
}

Value Multiply(const Value& a, const Value& b, Budget& budget) {
  int64_t product = 0;
  if (BothInts(a, b)) return CheckedInt(__builtin_mul_overflow(a.AsInt(), b.AsInt(), &product), product);
  if (BothNumbers(a, b)) return Value(a.AsDouble() * b.AsDouble());
  if ((a.is_string() || CanJoin(a, a)) && b.is_integral()) return Repeat(a, b.AsInt(), budget);
  if ((b.is_string() || CanJoin(b, b)) && a.is_integral()) return Repeat(b, a.AsInt(), budget);
  Unsupported("*", a, b);
}

void CheckDivision(std::string_view op, const Value& a, const Value& b) {
  if (!BothNumbers(a, b)) Unsupported(op, a, b);
  if (b.AsDouble() == 0) Fail("division by zero");
}

Value Divide(const Value& a, const Value& b, Budget&) {
  CheckDivision("/", a, b);
  return Value(a.AsDouble() / b.AsDouble());
}

Value FloorDivide(const Value& a, const Value& b, Budget&) {
  CheckDivision("//", a, b);
  if (BothInts(a, b)) {
    const int64_t x = a.AsInt(), y = b.AsInt();
    if (y == -1)
      return CheckedInt(x == std::numeric_limits<int64_t>::min(), x == std::numeric_limits<int64_t>::min() ? 0 : -x);
    return Value(x / y - (x % y != 0 && (x < 0) != (y < 0) ? 1 : 0));
  }
  const double x = a.AsDouble(), y = b.AsDouble();
  double rest = std::fmod(x, y);
  double quotient = (x - rest) / y;
  if (rest != 0 && (rest < 0) != (y < 0)) quotient -= 1;
  if (quotient == 0) return Value(std::copysign(0.0, x / y));
  const double whole = std::floor(quotient);
  return Value(quotient - whole > 0.5 ? whole + 1 : whole);
}

Value Remainder(const Value& a, const Value& b, Budget& budget) {
  if (a.is_string()) {
    const bool tuple = b.is_sequence(SequenceType::kTuple);
    return Value(PercentFormat(a.AsString(), tuple ? b.AsSequence().items : Values{b}, budget));
  }
  CheckDivision("%", a, b);
  if (BothInts(a, b)) {
    if (b.AsInt() == -1) return Value(int64_t{0});
    const int64_t rest = a.AsInt() % b.AsInt();
    return Value(rest != 0 && (rest < 0) != (b.AsInt() < 0) ? rest + b.AsInt() : rest);
  }
  const double rest = std::fmod(a.AsDouble(), b.AsDouble());
  if (rest == 0) return Value(std::copysign(0.0, b.AsDouble()));
  return Value((rest < 0) != (b.AsDouble() < 0) ? rest + b.AsDouble() : rest);
}

Value Power(const Value& a, const Value& b, Budget&) {
  if (!BothNumbers(a, b)) Unsupported("**", a, b);
  if (a.AsDouble() == 0 && b.AsDouble() < 0) Fail("zero to a negative power");
  if (!BothInts(a, b) || b.AsInt() < 0) {
    const double power = std::pow(a.AsDouble(), b.AsDouble());
    if (std::isnan(power) && !std::isnan(a.AsDouble()) && !std::isnan(b.AsDouble())) Fail("a power is no real number");
    if (std::isinf(power) && !std::isinf(a.AsDouble()) && !std::isinf(b.AsDouble())) Fail("a power is too large");
    return Value(power);
  }
  const int64_t base = a.AsInt();
  if (base == 0 || base == 1) return Value(b.AsInt() == 0 ? int64_t{1} : base);
  if (base == -1) return Value(b.AsInt() % 2 == 0 ? int64_t{1} : int64_t{-1});
  int64_t power = 1;
  for (int64_t i = 0; i < b.AsInt(); ++i) {  // at most 63 rounds
    if (__builtin_mul_overflow(power, base, &power)) Fail("an integer result does not fit 64 bits");
  }
  return Value(power);
}

// Python's slice.indices(): the first index, how far to step, and how many items.
struct Span {
  int64_t start, step, count;
};
Span Indices(const Value& start, const Value& stop, const Value& step_value, int64_t size) {
  const auto number = [](const Value& value, int64_t fallback) {
    if (value.is_none()) return fallback;
    if (!value.is_integral()) Fail("a slice takes integers, not a {}", TypeName(value));
    // No sequence is so long; keeps sums within 64 bits.
    return std::clamp<int64_t>(value.AsInt(), -(int64_t{1} << 60), int64_t{1} << 60);
  };
  const int64_t step = number(step_value, 1);
  if (step == 0) Fail("the step of a slice is zero");
  const int64_t lowest = step > 0 ? 0 : -1, highest = step > 0 ? size : size - 1;
  const auto place = [&](const Value& value, int64_t fallback) {
    if (value.is_none()) return fallback;
    const int64_t i = number(value, 0);
    return std::clamp(i < 0 ? i + size : i, lowest, highest);
  };
  const int64_t first = place(start, step > 0 ? lowest : highest);
  const int64_t end = place(stop, step > 0 ? highest : lowest);
  const int64_t distance = step > 0 ? end - first : first - end;
  const int64_t stride = step > 0 ? step : -step;
  return {first, step, distance > 0 ? (distance + stride - 1) / stride : 0};
}

// One %-conversion: its flags, width and precision.
std::string ConvertNumber(std::string spec, char kind, const Value& value) {
  if (!value.is_number()) Fail("%{} takes a number, not a {}", kind, TypeName(value));
  char buffer[512];
  int size = 0;
  if (kind == 'd' || kind == 'i' || kind == 'u' || kind == 'x' || kind == 'X' || kind == 'o') {
    if (!(std::abs(value.AsDouble()) < 0x1p63)) Fail("%{} of a number that does not fit 64 bits", kind);
    const int64_t number = value.is(Kind::kFloat) ? static_cast<int64_t>(value.AsDouble()) : value.AsInt();
    if (number < 0 && kind != 'd' && kind != 'i') Fail("%{} of a negative number", kind);
    spec += kind == 'u' ? "lld" : std::string("ll") + kind;
    size = std::snprintf(buffer, sizeof(buffer), spec.c_str(), static_cast<long long>(number));
  } else {
    spec += kind;
    size = std::snprintf(buffer, sizeof(buffer), spec.c_str(), value.AsDouble());
  }
  if (size < 0 || size >= static_cast<int>(sizeof(buffer))) Fail("%{} gives too long a number", kind);
  return std::string(buffer, static_cast<size_t>(size));
}

// Behind the flags, the width and the precision that start at `at`.
size_t EndOfConversion(const std::string& format, size_t at) {
  at = std::min(format.find_first_not_of("-+ 0#", at), format.size());
  at = std::min(format.find_first_not_of("0123456789", at), format.size());
  if (at < format.size() && format[at] == '.') at = format.find_first_not_of("0123456789", at + 1);
  return at < format.size() ? at : format.npos;
}

std::string ConvertText(std::string_view spec, std::string text) {
  const bool left = spec.find('-') != spec.npos;
  const size_t dot = spec.find('.');
  const std::string_view width_text = spec.substr(std::min(spec.find_first_of("123456789"), spec.size()));
  const size_t width =
      width_text.empty() || spec.find_first_of("123456789") > dot ? 0 : std::stoul(std::string(width_text));
  if (dot != spec.npos) {
    const size_t keep = dot + 1 < spec.size() ? std::stoul(std::string(spec.substr(dot + 1))) : 0;
    const auto characters = Characters(text);
    if (keep < characters.size()) text.resize(static_cast<size_t>(characters[keep].data() - text.data()));
  }
  const size_t size = CountCharacters(text);
  if (size >= width) return text;
  return left ? text + std::string(width - size, ' ') : std::string(width - size, ' ') + text;
}

}  // namespace

Value Binary(std::string_view op, const Value& a, const Value& b, Budget& budget) {
  static constexpr std::pair<std::string_view, Operation> kOperations[] = {
      {"+", Add}, {"-", Subtract}, {"*", Multiply}, {"/", Divide}, {"//", FloorDivide}, {"%", Remainder}, {"**", Power},
  };
  for (const auto& [name, operation] : kOperations) {
    if (name == op) return operation(a, b, budget);
  }
  Fail("the operator {} is unknown", op);
}

Value Negate(const Value& value) {
  if (value.is(Kind::kFloat)) return Value(-value.AsDouble());
  if (value.is_undefined()) Fail("{}", value.WhyUndefined());
  if (!value.is_integral()) Fail("- does not work on a {}", TypeName(value));
  if (value.AsInt() == std::numeric_limits<int64_t>::min()) Fail("an integer result does not fit 64 bits");
  return Value(-value.AsInt());
}

bool Compare(std::string_view op, const Value& a, const Value& b, Budget& budget) {
  if (op == "==") return Equal(a, b, budget);
  if (op == "!=") return !Equal(a, b, budget);
  if (op == "in") return Contains(b, a, budget);
  if (op == "not in") return !Contains(b, a, budget);
  if (op == "<") return Less(a, b, budget);
  if (op == ">") return Less(b, a, budget);
  const bool nan = BothNumbers(a, b) && (std::isnan(a.AsDouble()) || std::isnan(b.AsDouble()));
  if (op == "<=") return !Less(b, a, budget) && !nan;
  return !Less(a, b, budget) && !nan;
}

bool Contains(const Value& container, const Value& item, Budget& budget) {
  if (container.is_undefined()) return false;
  if (container.is_string()) {
    if (!item.is_string()) Fail("in looks for a string in a string, not for a {}", TypeName(item));
    budget.Bytes(container.AsString().size());
    return FindFirst(container.AsString(), item.AsString()) != std::string::npos;
  }
  if (container.is_dict()) return container.AsDict().Find(item, budget) != nullptr;
  if (!container.is_sequence()) Fail("in does not work on a {}", TypeName(container));
  const Values items = Iterate(container, budget);
  return std::any_of(items.begin(), items.end(),
                     [&](const Value& other) { return other.SameAs(item) || Equal(other, item, budget); });
}

Value Slice(const Value& value, const Value& start, const Value& stop, const Value& step, Budget& budget) {
  if (value.is_undefined()) Fail("{}", value.WhyUndefined());
  if (value.is_string()) {
    const auto characters = Characters(value.AsString());
    budget.Bytes(characters.size() * sizeof(characters[0]));
    const Span span = Indices(start, stop, step, static_cast<int64_t>(characters.size()));
    std::string text;
    for (int64_t i = 0; i < span.count; ++i) text += characters[static_cast<size_t>(span.start + i * span.step)];
    return MakeString(std::move(text), budget);
  }
  const bool sliceable = value.is_sequence(SequenceType::kList) || value.is_sequence(SequenceType::kTuple) ||
                         value.is_sequence(SequenceType::kRange);
  if (!sliceable) Fail("a {} cannot be sliced", TypeName(value));
  const Values& all = value.AsSequence().items;
  const Span span = Indices(start, stop, step, static_cast<int64_t>(all.size()));
  Values items;
  for (int64_t i = 0; i < span.count; ++i) items.push_back(all[static_cast<size_t>(span.start + i * span.step)]);
  const bool range = value.is_sequence(SequenceType::kRange);
  return MakeSequence(range ? SequenceType::kList : value.AsSequence().type, std::move(items), budget);
}

Value Range(int64_t start, int64_t stop, int64_t step, Budget& budget) {
  if (step == 0) Fail("the step of range is zero");
  constexpr int64_t kFar = int64_t{1} << 60;  // differences stay within 64 bits
  for (const int64_t number : {start, stop, step}) {
    if (number > kFar || number < -kFar) Fail("range takes no number as large as {}", number);
  }
  const int64_t distance = step > 0 ? stop - start : start - stop;
  const int64_t stride = step > 0 ? step : -step;
  const int64_t count = distance > 0 ? (distance + stride - 1) / stride : 0;
  if (count > kMaxRange) throw TemplateError{fmt::format("a range has more than {} items", kMaxRange), 0, true};
  budget.Bytes(static_cast<size_t>(count) * sizeof(Value));
  auto range = std::make_shared<Sequence>();
  range->type = SequenceType::kRange;
  for (int64_t i = 0; i < count; ++i) range->items.emplace_back(start + i * step);
  range->shown =
      step == 1 ? fmt::format("range({}, {})", start, stop) : fmt::format("range({}, {}, {})", start, stop, step);
  return Value(std::shared_ptr<const Sequence>(std::move(range)));
}

std::string PercentFormat(const std::string& format, const Values& arguments, Budget& budget) {
  std::string out;
  size_t used = 0;
  for (size_t i = 0; i < format.size(); ++i) {
    if (format[i] != '%') {
      out += format[i];
      continue;
    }
    const size_t end = EndOfConversion(format, i + 1);
    if (end == format.npos) Fail("a format ends within a conversion");
    const std::string spec = format.substr(i, end - i);
    if (spec.size() > 8) Fail("the conversion {} of a format is too wide", spec);
    const char kind = format[end];
    i = end;
    if (kind == '%') {
      out += '%';
      continue;
    }
    if (used == arguments.size()) Fail("a format has more conversions than arguments");
    const Value& value = arguments[used++];
    budget.Step();
    if (kind == 's') {
      out += ConvertText(spec, Str(value, budget));
    } else if (kind == 'r') {
      out += ConvertText(spec, Repr(value, budget));
    } else if (std::string_view("diuxXofFeEgG").find(kind) != std::string_view::npos) {
      out += ConvertNumber(spec, kind, value);
    } else {
      Fail("the conversion %{} of a format is unknown", kind);
    }
    if (out.size() > (size_t{1} << 20)) budget.Bytes(out.size());  // what widths and texts add up to
  }
  const bool spare =
      arguments.size() == 1 && (arguments[0].is_dict() || arguments[0].is_undefined() || arguments[0].is_sequence());
  if (used < arguments.size() && !(used == 0 && spare)) Fail("a format has fewer conversions than arguments");
  budget.Bytes(out.size());
  return out;
}

}  // namespace nosa::text::jinja
