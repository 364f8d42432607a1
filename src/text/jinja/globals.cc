// Global functions: jinja2's, and the two that chat templates are given besides.
#include <algorithm>
#include <array>

#include "text/jinja/library.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"

namespace nosa::text::jinja {
namespace {

using I = Interpreter;

Value RangeOf(I& in, const Value&, const Bound& args) {
  const bool one = !args.has(1);
  return Range(one ? 0 : args.Int(0, 0), one ? args.Int(0, 0) : args.Int(1, 0), args.Int(2, 1), in.budget());
}

// dict() and namespace(): pairs or another dict, then names.
Dict Collect(I& in, const Arguments& arguments) {
  Dict dict;
  if (arguments.positional.size() > 1) Fail("dict takes at most one argument by place");
  for (const Value& source : arguments.positional) {
    if (source.is_dict()) {
      dict = source.AsDict();
      in.budget().Bytes(dict.items.size() * 2 * sizeof(Value));
      continue;
    }
    for (const Value& pair : Iterate(source, in.budget())) {
      const Values both = Iterate(pair, in.budget());
      if (both.size() != 2) Fail("dict takes pairs, not {} values", both.size());
      dict.Set(both[0], both[1], in.budget());
    }
  }
  for (const auto& [name, value] : arguments.named) dict.Set(Value(name), value, in.budget());
  return dict;
}

Value MakeNamespace(I& in, const Value&, const Arguments& arguments) {
  auto* space = in.Make<Namespace>();
  for (const auto& [name, value] : Collect(in, arguments).items) {
    if (name.is_string()) space->attributes[name.AsString()] = value;
  }
  return Value(space);
}

Value StrftimeNow(I& in, const Value&, const Bound& args) {
  const std::time_t now = in.Now();
  std::tm local{};
  localtime_r(&now, &local);
  const std::string& format = args.Text(0);
  constexpr size_t kLongestFormat = 1000;  // bytes
  if (format.size() > kLongestFormat) Fail("the format of strftime_now is longer than {} bytes", kLongestFormat);
  if (format.empty()) return Value(std::string());
  std::array<char, 64 * kLongestFormat> buffer;  // no conversion of the C locale is as long
  const size_t size = std::strftime(buffer.data(), buffer.size(), format.c_str(), &local);
  return MakeString(std::string(buffer.data(), size), in.budget());
}

const Native kGlobals[] = {
    {"range", "start stop= step=", RangeOf},
    {"dict", "", nullptr, [](I& i, const Value&, const Arguments& a) { return MakeDict(Collect(i, a), i.budget()); }},
    {"namespace", "", nullptr, MakeNamespace},
    {"raise_exception", "message",
     [](I& i, const Value&, const Bound& a) -> Value { Fail("the template refuses: {}", Str(a[0], i.budget())); }},
    {"strftime_now", "format", StrftimeNow},
};

}  // namespace

const Native* FindGlobal(std::string_view name) {
  for (const Native& global : kGlobals) {
    if (global.name == name) return &global;
  }
  return nullptr;
}

}  // namespace nosa::text::jinja
