// Python's operators on values. They fail where Python does, and where an integer leaves 64 bits.
#pragma once

#include <string_view>

#include "text/jinja/value.h"

namespace nosa::text::jinja {

// `op` is one of + - * / // % **.
Value Binary(std::string_view op, const Value& a, const Value& b, Budget& budget);
Value Negate(const Value& value);
// `op` is one of == != < <= > >= in, not in.
bool Compare(std::string_view op, const Value& a, const Value& b, Budget& budget);
bool Contains(const Value& container, const Value& item, Budget& budget);
// value[start:stop:step]; None for what is left out.
Value Slice(const Value& value, const Value& start, const Value& stop, const Value& step, Budget& budget);
// range() of Python, at most kMaxRange items.
Value Range(int64_t start, int64_t stop, int64_t step, Budget& budget);
// "..." % arguments, without "*" and names.
std::string PercentFormat(const std::string& format, const Values& arguments, Budget& budget);

}  // namespace nosa::text::jinja
