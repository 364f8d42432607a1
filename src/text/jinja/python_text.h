// How Python writes values, and its view of strings as characters rather than bytes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/value.h"

namespace nosa::text::jinja {

// str() and repr() of a value.
std::string Str(const Value& value, Budget& budget);
std::string Repr(const Value& value, Budget& budget);
// The shortest digits that read back as the same number, in Python's form: 1.0, 1e-05, 1e+16, inf.
std::string FloatText(double value);
// json.dumps(value, ensure_ascii=...). `indent` below 0 is one line.
std::string ToJson(const Value& value, int indent, std::string_view item_separator, std::string_view key_separator,
                   bool ensure_ascii, bool sort_keys, Budget& budget);

// Each character of well-formed UTF-8, as a view into `text`.
std::vector<std::string_view> Characters(std::string_view text);
size_t CountCharacters(std::string_view text);

}  // namespace nosa::text::jinja
