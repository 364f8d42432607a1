// Filters of single values: text, numbers, JSON. Those of lists are in list_filters.cc.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "text/jinja/library.h"
#include "text/jinja/list_filters.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"
#include "text/jinja/string_functions.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace nosa::text::jinja {
namespace {

using I = Interpreter;

Value Default(I&, const Value& value, const Bound& args) {
  const bool replace = value.is_undefined() || (args.Bool(1, false) && !Truthy(value));
  return replace ? args.Or(0, Value(std::string())) : value;
}

Value Trim(I& in, const Value& value, const Bound& args) {
  const std::string text = Str(value, in.budget());
  return Value(std::string(Strip(text, args.Given(0) ? &args.Text(0) : nullptr, true, true)));
}

// Words start at the text's start and behind spaces, "-" and opening brackets.
Value TitleFilter(I& in, const Value& value, const Bound&) {
  std::string out;
  bool starts = true;
  const std::string text = Str(value, in.budget());
  for (const std::string_view c : Characters(text)) {
    out += starts ? ToUpper(c) : ToLower(c);
    starts = std::string_view("-({[<").find(c) != std::string_view::npos || Strip(c, nullptr, true, false).empty();
  }
  return Value(std::move(out));
}

Value ReplaceFilter(I& in, const Value& value, const Bound& args) {
  const int64_t count = args.Given(2) ? args.Int(2, -1) : -1;
  return Value(
      Replace(Str(value, in.budget()), Str(args[0], in.budget()), Str(args[1], in.budget()), count, in.budget()));
}

Value LengthFilter(I&, const Value& value, const Bound&) {
  const auto length = Length(value);
  if (!length.has_value()) Fail("a {} has no length", TypeName(value));
  return Value(*length);
}

// The whole of a text as a number in Python's form, without its spaces and single "_".
std::optional<double> ParseFloat(std::string_view raw) {
  std::string text(Strip(raw, nullptr, true, true));
  for (size_t i = 1; i + 1 < text.size(); ++i) {
    const auto digit = [&](size_t at) { return text[at] >= '0' && text[at] <= '9'; };
    if (text[i] == '_' && digit(i - 1) && digit(i + 1)) text.erase(i, 1);
  }
  if (text.empty() || text.find_first_of("xXpP()") != text.npos) return std::nullopt;
  char* end = nullptr;
  const double number = std::strtod(text.c_str(), &end);
  return end == text.c_str() + text.size() ? std::optional(number) : std::nullopt;
}

std::optional<int64_t> Truncate(double number) {
  if (std::isnan(number) || std::isinf(number)) return std::nullopt;
  if (std::abs(number) >= 0x1p63) Fail("the integer {} does not fit 64 bits", number);
  return static_cast<int64_t>(number);
}

std::optional<int64_t> ParseInt(std::string_view raw, int64_t base) {
  std::string text(Strip(raw, nullptr, true, true));
  std::erase(text, '_');
  const bool negative = text.starts_with('-');
  if (negative || text.starts_with('+')) text.erase(0, 1);
  const char letter = base == 16 ? 'x' : base == 8 ? 'o' : base == 2 ? 'b' : '\0';
  if (letter != '\0' && text.size() > 2 && text[0] == '0' && (text[1] | 0x20) == letter) text.erase(0, 2);
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, static_cast<int>(base));
  if (error == std::errc::result_out_of_range) Fail("the integer {} does not fit 64 bits", text);
  if (error != std::errc() || end != text.data() + text.size() || text.starts_with('-')) return std::nullopt;
  return negative ? -number : number;
}

Value Int(I&, const Value& value, const Bound& args) {
  const Value fallback = args.Or(0, Value(int64_t{0}));
  const int64_t base = args.Int(1, 10);
  if (base < 2 || base > 36) Fail("int takes a base from 2 to 36, not {}", base);
  if (value.is_undefined()) Fail("{}", value.WhyUndefined());
  std::optional<int64_t> number;
  if (value.is_integral()) number = value.AsInt();
  if (value.is(Kind::kFloat)) number = Truncate(value.AsDouble());
  if (value.is_string()) {
    number = ParseInt(value.AsString(), base);
    if (const auto real = ParseFloat(value.AsString()); !number.has_value() && real.has_value())
      number = Truncate(*real);
  }
  return number.has_value() ? Value(*number) : fallback;
}

Value Float(I&, const Value& value, const Bound& args) {
  const Value fallback = args.Or(0, Value(0.0));
  if (value.is_undefined()) Fail("{}", value.WhyUndefined());
  if (value.is_number()) return Value(value.AsDouble());
  const auto number = value.is_string() ? ParseFloat(value.AsString()) : std::nullopt;
  return number.has_value() ? Value(*number) : fallback;
}

Value Abs(I&, const Value& value, const Bound&) {
  if (!value.is_number()) Fail("abs does not work on a {}", TypeName(value));
  if (value.is(Kind::kFloat)) return Value(std::abs(value.AsDouble()));
  return value.AsInt() < 0 ? Negate(value) : Value(value.AsInt());
}

// Rounds a tie to even as Python does, by the digits of the exact value.
double RoundHalfEven(double number, int64_t digits) {
  if (std::isnan(number) || std::isinf(number) || digits > 300) return number;
  if (digits < 0) {
    const double scale = std::pow(10.0, static_cast<double>(-digits));
    return std::isinf(scale) ? 0.0 : std::nearbyint(number / scale) * scale;
  }
  char buffer[700];
  std::snprintf(buffer, sizeof(buffer), "%.*f", static_cast<int>(digits), number);
  return std::strtod(buffer, nullptr);
}

Value Round(I&, const Value& value, const Bound& args) {
  const int64_t digits = args.Int(0, 0);
  const std::string method = args.has(1) ? args.Text(1) : "common";
  if (!value.is_number()) Fail("round does not work on a {}", TypeName(value));
  if (method == "common") {
    if (value.is_integral() && digits >= 0) return Value(value.AsInt());
    const double rounded = RoundHalfEven(value.AsDouble(), digits);
    if (value.is_integral() && !(std::abs(rounded) < 0x1p63)) Fail("a rounded integer does not fit 64 bits");
    return value.is_integral() ? Value(static_cast<int64_t>(rounded)) : Value(rounded);
  }
  if (method != "ceil" && method != "floor") Fail("round knows common, ceil and floor, not \"{}\"", method);
  const double scale = std::pow(10.0, static_cast<double>(digits));
  const double scaled = value.AsDouble() * scale;
  // Python's ceil and floor are integers, which have no negative zero.
  return Value(((method == "ceil" ? std::ceil(scaled) : std::floor(scaled)) + 0.0) / scale);
}

Value ToJsonFilter(I& in, const Value& value, const Bound& args) {
  const int64_t indent = args.Given(1) ? args.Int(1, 0) : -1;
  constexpr int64_t kMaxIndent = 1000;
  if (indent > kMaxIndent) Fail("tojson indents by at most {}", kMaxIndent);
  std::string item = args.Given(1) ? "," : ", ", key = ": ";
  if (args.Given(2)) {
    const Values both = Iterate(args[2], in.budget());
    if (both.size() != 2 || !both[0].is_string() || !both[1].is_string()) Fail("tojson takes two separators");
    item = both[0].AsString();
    key = both[1].AsString();
  }
  const int spaces = args.Given(1) ? static_cast<int>(std::max<int64_t>(indent, 0)) : -1;
  return Value(ToJson(value, spaces, item, key, args.Bool(0, false), args.Bool(3, false), in.budget()));
}

// Indents every line but the first, and empty ones only when `blank`.
Value Indent(I& in, const Value& value, const Bound& args) {
  std::string pad;
  if (args.has(0) && args[0].is_string()) {
    pad = args[0].AsString();
  } else {
    pad = Binary("*", Value(std::string(" ")), Value(args.Int(0, 4)), in.budget()).AsString();
  }
  if (!value.is_string()) Fail("indent takes a string, not a {}", TypeName(value));
  const bool first = args.Bool(1, false), blank = args.Bool(2, false);
  const std::string text = Str(value, in.budget()) + "\n";
  std::string out;
  const auto lines = SplitLines(text);
  for (size_t i = 0; i < lines.size(); ++i) {
    if (i > 0) out += '\n';
    if (i == 0 ? first : blank || !lines[i].empty()) out += pad;
    in.budget().Bytes(pad.size() + lines[i].size());
    out += lines[i];
  }
  return Value(std::move(out));
}

Value Escape(I& in, const Value& value, const Bound&) {
  std::string out;
  for (const char c : Str(value, in.budget())) {
    if (c == '&') {
      out += "&amp;";
    } else if (c == '<' || c == '>') {
      out += c == '<' ? "&lt;" : "&gt;";
    } else if (c == '"' || c == '\'') {
      out += c == '"' ? "&#34;" : "&#39;";
    } else {
      out += c;
    }
  }
  return MakeString(std::move(out), in.budget());
}

std::string UrlQuote(std::string_view text, bool query) {
  std::string out;
  for (const char c : text) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       std::string_view("_.-~").find(c) != std::string_view::npos || (c == '/' && !query);
    if (plain) {
      out += c;
    } else if (c == ' ' && query) {
      out += '+';
    } else {
      out += fmt::format("%{:02X}", static_cast<uint8_t>(c));
    }
  }
  return out;
}

Value UrlEncode(I& in, const Value& value, const Bound&) {
  if (value.is_string() || !IsIterable(value)) return MakeString(UrlQuote(Str(value, in.budget()), false), in.budget());
  const Value pairs = value.is_dict() ? FindMethod(value, "items")->Run(in, value, {}) : value;
  std::string out;
  for (const Value& pair : Iterate(pairs, in.budget())) {
    const Values both = Iterate(pair, in.budget());
    if (both.size() != 2) Fail("urlencode takes pairs, not {} values", both.size());
    if (!out.empty()) out += '&';
    out += UrlQuote(Str(both[0], in.budget()), true) + "=" + UrlQuote(Str(both[1], in.budget()), true);
  }
  return MakeString(std::move(out), in.budget());
}

Value WordCount(I& in, const Value& value, const Bound&) {
  int64_t count = 0;
  bool inside = false;
  const std::string text = Str(value, in.budget());
  for (const std::string_view c : Characters(text)) {
    const bool word = IsWordCharacter(DecodeUtf8(c).code_point);
    count += word && !inside ? 1 : 0;
    inside = word;
  }
  return Value(count);
}

Value Format(I& in, const Value& value, const Arguments& arguments) {
  if (!arguments.named.empty()) Fail("format takes its values by place");
  return Value(PercentFormat(Str(value, in.budget()), arguments.positional, in.budget()));
}

Value Text(I& in, std::string text) { return MakeString(std::move(text), in.budget()); }

const Native kFilters[] = {
    {"default", "default_value= boolean=", Default},
    {"d", "default_value= boolean=", Default},
    {"trim", "chars=", Trim},
    {"upper", "", [](I& i, const Value& v, const Bound&) { return Text(i, ToUpper(Str(v, i.budget()))); }},
    {"lower", "", [](I& i, const Value& v, const Bound&) { return Text(i, ToLower(Str(v, i.budget()))); }},
    {"capitalize", "", [](I& i, const Value& v, const Bound&) { return Text(i, Capitalize(Str(v, i.budget()))); }},
    {"title", "", TitleFilter},
    {"replace", "old new count=", ReplaceFilter},
    {"string", "", [](I& i, const Value& v, const Bound&) { return Value(Str(v, i.budget())); }},
    {"safe", "", [](I& i, const Value& v, const Bound&) { return Value(Str(v, i.budget())); }},
    {"escape", "", Escape},
    {"e", "", Escape},
    {"indent", "width= first= blank=", Indent},
    {"format", "", nullptr, Format},
    {"urlencode", "", UrlEncode},
    {"wordcount", "", WordCount},
    {"length", "", LengthFilter},
    {"count", "", LengthFilter},
    {"int", "default= base=", Int},
    {"float", "default=", Float},
    {"abs", "", Abs},
    {"round", "precision= method=", Round},
    {"tojson", "ensure_ascii= indent= separators= sort_keys=", ToJsonFilter},
    {"attr", "name",
     [](I& i, const Value& v, const Bound& a) {
       return v.is_dict() && FindMethod(v, a.Text(0)) == nullptr ? Value() : i.Attribute(v, a.Text(0));
     }},
};

}  // namespace

const Native* FindFilter(std::string_view name) {
  for (const Native& filter : kFilters) {
    if (filter.name == name) return &filter;
  }
  return FindListFilter(name);
}

}  // namespace nosa::text::jinja
