#include "text/jinja/string_functions.h"

#include <algorithm>

#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"
#include "text/jinja/search.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace nosa::text::jinja {
namespace {

// The character at the start of `text`, and its bytes.
bool IsStripped(std::string_view c, const std::string* characters) {
  if (characters == nullptr) {
    const char32_t code = DecodeUtf8(c).code_point;
    return IsWhitespace(code) || (code >= 0x1C && code <= 0x1F);
  }
  return characters->find(c) != std::string::npos;
}

bool IsCased(char32_t c) { return IsUpper(c) || IsLower(c); }

// Position of the end of a line break at `i`, or `i` when there is none.
size_t LineBreak(std::string_view text, size_t i) {
  if (text.substr(i).starts_with("\r\n")) return i + 2;
  const Utf8Step step = DecodeUtf8(text.substr(i));
  const char32_t c = step.code_point;
  const bool breaks = (c >= 0x0A && c <= 0x0D) || (c >= 0x1C && c <= 0x1E) || c == 0x85 || c == 0x2028 || c == 0x2029;
  return breaks ? i + step.bytes : i;
}

std::string Align(std::string text, std::string_view fill, char align, size_t width) {
  const size_t size = CountCharacters(text);
  if (size >= width) return text;
  const size_t missing = width - size, left = align == '<' ? 0 : align == '>' ? missing : missing / 2;
  std::string out;
  for (size_t i = 0; i < left; ++i) out += fill;
  out += text;
  for (size_t i = left; i < missing; ++i) out += fill;
  return out;
}

size_t TakeNumber(std::string_view* spec, size_t fallback) {
  const size_t size = std::min(spec->find_first_not_of("0123456789"), spec->size());
  if (size > 4) Fail("a format asks for too wide a field");
  const size_t number = size == 0 ? fallback : std::stoul(std::string(spec->substr(0, size)));
  spec->remove_prefix(size);
  return number;
}

std::string FormatOne(const Value& value, std::string_view spec, Budget& budget) {
  if (spec.empty()) return Str(value, budget);
  std::string fill = " ";
  char align = value.is_number() ? '>' : '<';
  const auto is_align = [](std::string_view text, size_t at) {
    return at < text.size() && std::string_view("<>^").find(text[at]) != std::string_view::npos;
  };
  const size_t first = DecodeUtf8(spec).bytes;
  if (is_align(spec, first)) {
    fill = spec.substr(0, first);
    align = spec[first];
    spec.remove_prefix(first + 1);
  } else if (is_align(spec, 0)) {
    align = spec[0];
    spec.remove_prefix(1);
  }
  std::string percent = "%";
  if (spec.starts_with('+')) {
    percent += '+';
    spec.remove_prefix(1);
  }
  if (spec.starts_with('0') && value.is_number()) fill = "0";
  const size_t width = TakeNumber(&spec, 0);
  if (spec.starts_with('.')) {
    spec.remove_prefix(1);
    percent += "." + std::to_string(TakeNumber(&spec, 0));
  }
  const bool plain = spec.empty();
  if (plain && percent == "%") return Align(Str(value, budget), fill, align, width);
  const char kind = plain ? (value.is_string() ? 's' : value.is(Kind::kFloat) ? 'g' : 'd') : spec[0];
  if (spec.size() > 1 || (kind == 's') != value.is_string())
    Fail("the format {} does not fit a {}", spec, TypeName(value));
  if (kind == 'd' && value.is(Kind::kFloat)) Fail("the format d does not fit a float");
  return Align(PercentFormat(percent + kind, {value}, budget), fill, align, width);
}

const Value& FormatArgument(std::string_view name, const Arguments& arguments, size_t* next) {
  if (name.empty() || name.find_first_not_of("0123456789") == name.npos) {
    const size_t i = name.empty() ? (*next)++ : name.size() > 4 ? SIZE_MAX : std::stoul(std::string(name));
    if (i >= arguments.positional.size()) Fail("format has no argument {}", i);
    return arguments.positional[i];
  }
  for (const auto& [key, value] : arguments.named) {
    if (key == name) return value;
  }
  Fail("format has no argument \"{}\"", name);
}

}  // namespace

std::string_view Strip(std::string_view text, const std::string* characters, bool left, bool right) {
  while (left && !text.empty()) {
    const size_t size = DecodeUtf8(text).bytes;
    if (!IsStripped(text.substr(0, size), characters)) break;
    text.remove_prefix(size);
  }
  while (right && !text.empty()) {
    const size_t start = LastCharacterStart(text);
    if (!IsStripped(text.substr(start), characters)) break;
    text.remove_suffix(text.size() - start);
  }
  return text;
}

std::string Capitalize(std::string_view text) {
  if (text.empty()) return "";
  const size_t size = DecodeUtf8(text).bytes;
  std::string out;
  AppendUtf8(ToTitle(DecodeUtf8(text).code_point), &out);
  return out + ToLower(text.substr(size));
}

std::string Title(std::string_view text) {
  std::string out;
  bool inside = false;
  for (const std::string_view c : Characters(text)) {
    const char32_t code = DecodeUtf8(c).code_point;
    if (inside) {
      out += ToLower(c);
    } else {
      AppendUtf8(ToTitle(code), &out);
    }
    inside = IsCased(code);
  }
  return out;
}

std::string Replace(std::string_view text, std::string_view from, std::string_view to, int64_t count, Budget& budget) {
  std::string out;
  size_t place = 0;
  const auto add = [&](std::string_view part) {
    budget.Bytes(part.size());
    out += part;
  };
  budget.Bytes(text.size());
  for (int64_t done = 0; count < 0 || done < count; ++done) {
    budget.Step();
    if (from.empty()) {
      add(to);
      if (place == text.size()) return out;
      const size_t size = DecodeUtf8(text.substr(place)).bytes;
      add(text.substr(place, size));
      place += size;
      continue;
    }
    const size_t found = FindFirst(text, from, place);
    if (found == text.npos) break;
    add(text.substr(place, found - place));
    add(to);
    place = found + from.size();
  }
  add(text.substr(place));
  return out;
}

std::vector<std::string_view> SplitLines(std::string_view text) {
  std::vector<std::string_view> lines;
  size_t start = 0;
  for (size_t i = 0; i < text.size();) {
    const size_t end = LineBreak(text, i);
    if (end == i) {
      i += DecodeUtf8(text.substr(i)).bytes;
      continue;
    }
    lines.push_back(text.substr(start, i - start));
    start = i = end;
  }
  if (start < text.size()) lines.push_back(text.substr(start));
  return lines;
}

std::string BraceFormat(std::string_view format, const Arguments& arguments, Budget& budget) {
  std::string out;
  size_t next = 0;
  for (size_t i = 0; i < format.size(); ++i) {
    const char c = format[i];
    if (c != '{' && c != '}') {
      out += c;
      continue;
    }
    if (i + 1 < format.size() && format[i + 1] == c) {
      out += c;
      ++i;
      continue;
    }
    const size_t end = format.find('}', i);
    if (c == '}' || end == format.npos) Fail("a format has a single \"{}\"", c);
    const std::string_view field = format.substr(i + 1, end - i - 1);
    const size_t colon = std::min(field.find(':'), field.size());
    budget.Step();
    const Value& value = FormatArgument(field.substr(0, colon), arguments, &next);
    const std::string part = FormatOne(value, field.substr(std::min(colon + 1, field.size())), budget);
    budget.Bytes(part.size());
    out += part;
    i = end;
  }
  budget.Bytes(out.size());
  return out;
}

}  // namespace nosa::text::jinja
