// Methods of strings, dicts and sequences: those of Python that change nothing.
#include <algorithm>

#include "text/jinja/library.h"
#include "text/jinja/python_text.h"
#include "text/jinja/search.h"
#include "text/jinja/string_functions.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace nosa::text::jinja {
namespace {

using I = Interpreter;

Value StripWith(I& in, const Value& self, const Bound& args, bool left, bool right) {
  const std::string* characters = args.Given(0) ? &args.Text(0) : nullptr;
  in.budget().Bytes(self.AsString().size());
  return Value(std::string(Strip(self.AsString(), characters, left, right)));
}

bool AnyAffix(const Bound& args, bool (*matches)(std::string_view, std::string_view), std::string_view text) {
  if (!args[0].is_sequence(SequenceType::kTuple)) return matches(text, args.Text(0));
  for (const Value& item : args[0].AsSequence().items) {
    if (!item.is_string()) Fail("startswith and endswith take strings, not a {}", TypeName(item));
    if (matches(text, item.AsString())) return true;
  }
  return false;
}

Value Parts(I& in, const std::vector<std::string_view>& parts) {
  Values items;
  for (const std::string_view part : parts) {
    in.budget().Bytes(part.size() + sizeof(Value) + sizeof(std::string));
    items.emplace_back(std::string(part));
  }
  return MakeList(std::move(items), in.budget());
}

bool IsSpaceAt(std::string_view text) {
  return Strip(text.substr(0, DecodeUtf8(text).bytes), nullptr, true, false).empty();
}

std::vector<std::string_view> SplitSpace(std::string_view text, int64_t count) {
  std::vector<std::string_view> parts;
  text = Strip(text, nullptr, true, false);
  while (!text.empty()) {
    if (count >= 0 && static_cast<int64_t>(parts.size()) == count) {
      parts.push_back(Strip(text, nullptr, false, true));
      break;
    }
    size_t end = 0;
    while (end < text.size() && !IsSpaceAt(text.substr(end))) end += DecodeUtf8(text.substr(end)).bytes;
    parts.push_back(text.substr(0, end));
    text = Strip(text.substr(end), nullptr, true, false);
  }
  return parts;
}

std::vector<std::string_view> SplitSpaceFromRight(std::string_view text, int64_t count) {
  std::vector<std::string_view> parts;
  text = Strip(text, nullptr, false, true);
  while (!text.empty()) {
    if (count >= 0 && static_cast<int64_t>(parts.size()) == count) {
      parts.push_back(Strip(text, nullptr, true, false));
      break;
    }
    size_t start = text.size();
    while (start > 0) {
      const size_t before = LastCharacterStart(text.substr(0, start));
      if (IsSpaceAt(text.substr(before))) break;
      start = before;
    }
    parts.push_back(text.substr(start));
    text = Strip(text.substr(0, start), nullptr, false, true);
  }
  std::reverse(parts.begin(), parts.end());
  return parts;
}

std::vector<std::string_view> SplitAt(std::string_view text, std::string_view by, int64_t count, bool right) {
  if (by.empty()) Fail("the separator of split is empty");
  std::vector<std::string_view> parts;
  // From the right, the same from the left of both turned round.
  const std::string turned = right ? std::string(text.rbegin(), text.rend()) : std::string();
  const std::string turned_by = right ? std::string(by.rbegin(), by.rend()) : std::string();
  const std::string_view searched = right ? std::string_view(turned) : text,
                         part = right ? std::string_view(turned_by) : by;
  const auto piece = [&](size_t begin, size_t end) {
    return text.substr(right ? text.size() - end : begin, end - begin);
  };
  size_t place = 0;
  while (count < 0 || static_cast<int64_t>(parts.size()) < count) {
    const size_t found = FindFirst(searched, part, place);
    if (found == text.npos) break;
    parts.push_back(piece(place, found));
    place = found + by.size();
  }
  parts.push_back(piece(place, text.size()));
  if (right) std::reverse(parts.begin(), parts.end());
  return parts;
}

Value Split(I& in, const Value& self, const Bound& args, bool right) {
  const std::string& text = self.AsString();
  const int64_t count = args.Int(1, -1);
  in.budget().Bytes(text.size() * sizeof(std::string_view));
  if (args.Given(0)) return Parts(in, SplitAt(text, args.Text(0), count, right));
  return Parts(in, right ? SplitSpaceFromRight(text, count) : SplitSpace(text, count));
}

Value Partition(I& in, const Value& self, const Bound& args, bool right) {
  const std::string& text = self.AsString();
  if (args.Text(0).empty()) Fail("the separator of partition is empty");
  const size_t at = right ? FindLast(text, args.Text(0)) : FindFirst(text, args.Text(0));
  in.budget().Bytes(text.size());
  Values parts;
  if (at == text.npos) {
    parts = {Value(right ? std::string() : text), Value(std::string()), Value(right ? text : std::string())};
  } else {
    parts = {Value(text.substr(0, at)), args[0], Value(text.substr(at + args.Text(0).size()))};
  }
  return MakeTuple(std::move(parts), in.budget());
}

// The first character of `text` behind a byte position, as an index.
Value Find(I& in, const Value& self, const Bound& args, bool right, bool must) {
  const std::string& text = self.AsString();
  in.budget().Bytes(text.size());
  const size_t at = right ? FindLast(text, args.Text(0)) : FindFirst(text, args.Text(0));
  if (at == text.npos && must) Fail("the string has no \"{}\"", args.Text(0));
  if (at == text.npos) return Value(int64_t{-1});
  return Value(static_cast<int64_t>(CountCharacters(std::string_view(text).substr(0, at))));
}

Value CountIn(I& in, const Value& self, const Bound& args) {
  const std::string& text = self.AsString();
  in.budget().Bytes(text.size());
  if (args.Text(0).empty()) return Value(static_cast<int64_t>(CountCharacters(text)) + 1);
  int64_t count = 0;
  const std::string& part = args.Text(0);
  for (size_t at = FindFirst(text, part); at != text.npos; at = FindFirst(text, part, at + part.size())) ++count;
  return Value(count);
}

Value Join(I& in, const Value& self, const Bound& args) {
  std::string out;
  bool first = true;
  if (args[0].is_undefined() == false && !IsIterable(args[0])) Fail("join takes a list, not a {}", TypeName(args[0]));
  for (const Value& item : Iterate(args[0], in.budget())) {
    if (!item.is_string()) Fail("join takes strings, not a {}", TypeName(item));
    in.budget().Bytes(item.AsString().size() + self.AsString().size());
    if (!first) out += self.AsString();
    out += item.AsString();
    first = false;
  }
  return Value(std::move(out));
}

// Whether the string has characters and all are so.
template <bool (*Is)(char32_t)>
Value All(I& in, const Value& self, const Bound&) {
  in.budget().Bytes(self.AsString().size());
  const auto characters = Characters(self.AsString());
  return Value(!characters.empty() && std::all_of(characters.begin(), characters.end(),
                                                  [](std::string_view c) { return Is(DecodeUtf8(c).code_point); }));
}
bool IsAlnum(char32_t c) { return IsLetter(c) || IsNumeric(c); }

// Whether it has cased characters, and those are so.
template <bool (*Is)(char32_t), bool (*IsNot)(char32_t)>
Value Cased(I& in, const Value& self, const Bound&) {
  in.budget().Bytes(self.AsString().size());
  bool any = false;
  for (const std::string_view c : Characters(self.AsString())) {
    if (IsNot(DecodeUtf8(c).code_point)) return Value(false);
    any = any || Is(DecodeUtf8(c).code_point);
  }
  return Value(any);
}

Value Text(I& in, std::string text) { return MakeString(std::move(text), in.budget()); }

const Native kStringMethods[] = {
    {"strip", "chars=", [](I& i, const Value& s, const Bound& a) { return StripWith(i, s, a, true, true); }},
    {"lstrip", "chars=", [](I& i, const Value& s, const Bound& a) { return StripWith(i, s, a, true, false); }},
    {"rstrip", "chars=", [](I& i, const Value& s, const Bound& a) { return StripWith(i, s, a, false, true); }},
    {"split", "sep= maxsplit=", [](I& i, const Value& s, const Bound& a) { return Split(i, s, a, false); }},
    {"rsplit", "sep= maxsplit=", [](I& i, const Value& s, const Bound& a) { return Split(i, s, a, true); }},
    {"splitlines", "",
     [](I& i, const Value& s, const Bound&) {
       i.budget().Bytes(s.AsString().size() * sizeof(std::string_view));
       return Parts(i, SplitLines(s.AsString()));
     }},
    {"partition", "sep", [](I& i, const Value& s, const Bound& a) { return Partition(i, s, a, false); }},
    {"rpartition", "sep", [](I& i, const Value& s, const Bound& a) { return Partition(i, s, a, true); }},
    {"startswith", "prefix",
     [](I&, const Value& s, const Bound& a) {
       return Value(AnyAffix(
           a, [](std::string_view t, std::string_view p) { return t.starts_with(p); }, s.AsString()));
     }},
    {"endswith", "suffix",
     [](I&, const Value& s, const Bound& a) {
       return Value(AnyAffix(
           a, [](std::string_view t, std::string_view p) { return t.ends_with(p); }, s.AsString()));
     }},
    {"removeprefix", "prefix",
     [](I& i, const Value& s, const Bound& a) {
       const size_t cut = s.AsString().starts_with(a.Text(0)) ? a.Text(0).size() : 0;
       return Text(i, s.AsString().substr(cut));
     }},
    {"removesuffix", "suffix",
     [](I& i, const Value& s, const Bound& a) {
       const size_t cut = s.AsString().ends_with(a.Text(0)) ? a.Text(0).size() : 0;
       return Text(i, s.AsString().substr(0, s.AsString().size() - cut));
     }},
    {"replace", "old new count=",
     [](I& i, const Value& s, const Bound& a) {
       return Value(Replace(s.AsString(), a.Text(0), a.Text(1), a.Int(2, -1), i.budget()));
     }},
    {"upper", "", [](I& i, const Value& s, const Bound&) { return Text(i, ToUpper(s.AsString())); }},
    {"lower", "", [](I& i, const Value& s, const Bound&) { return Text(i, ToLower(s.AsString())); }},
    {"title", "", [](I& i, const Value& s, const Bound&) { return Text(i, Title(s.AsString())); }},
    {"capitalize", "", [](I& i, const Value& s, const Bound&) { return Text(i, Capitalize(s.AsString())); }},
    {"find", "sub", [](I& i, const Value& s, const Bound& a) { return Find(i, s, a, false, false); }},
    {"rfind", "sub", [](I& i, const Value& s, const Bound& a) { return Find(i, s, a, true, false); }},
    {"index", "sub", [](I& i, const Value& s, const Bound& a) { return Find(i, s, a, false, true); }},
    {"count", "sub", CountIn},
    {"join", "items", Join},
    {"format", "", nullptr,
     [](I& i, const Value& s, const Arguments& a) { return Value(BraceFormat(s.AsString(), a, i.budget())); }},
    {"isdigit", "", All<IsDecimal>},
    {"isdecimal", "", All<IsDecimal>},
    {"isnumeric", "", All<IsNumeric>},
    {"isalpha", "", All<IsLetter>},
    {"isalnum", "", All<IsAlnum>},
    {"isspace", "", All<IsWhitespace>},
    {"isupper", "", Cased<IsUpper, IsLower>},
    {"islower", "", Cased<IsLower, IsUpper>},
};

Value View(I& in, const Value& self, SequenceType type) {
  Values items;
  in.budget().Bytes(self.AsDict().items.size() * sizeof(Value));
  for (const auto& [key, value] : self.AsDict().items) {
    items.push_back(type == SequenceType::kKeys     ? key
                    : type == SequenceType::kValues ? value
                                                    : MakeTuple({key, value}, in.budget()));
  }
  return MakeSequence(type, std::move(items), in.budget());
}

const Native kDictMethods[] = {
    {"items", "", [](I& i, const Value& s, const Bound&) { return View(i, s, SequenceType::kItems); }},
    {"keys", "", [](I& i, const Value& s, const Bound&) { return View(i, s, SequenceType::kKeys); }},
    {"values", "", [](I& i, const Value& s, const Bound&) { return View(i, s, SequenceType::kValues); }},
    {"get", "key default=",
     [](I& i, const Value& s, const Bound& a) {
       const Value* found = s.AsDict().Find(a[0], i.budget());
       return found != nullptr ? *found : a.Or(1, Value::None());
     }},
    {"copy", "", [](I&, const Value& s, const Bound&) { return s; }},
};

const Native kListMethods[] = {
    {"index", "value",
     [](I& i, const Value& s, const Bound& a) {
       const Values& items = s.AsSequence().items;
       for (size_t at = 0; at < items.size(); ++at) {
         if (Equal(items[at], a[0], i.budget())) return Value(static_cast<int64_t>(at));
       }
       Fail("the list has no such item");
     }},
    {"count", "value",
     [](I& i, const Value& s, const Bound& a) {
       const Values& items = s.AsSequence().items;
       return Value(static_cast<int64_t>(std::count_if(
           items.begin(), items.end(), [&](const Value& item) { return Equal(item, a[0], i.budget()); })));
     }},
};

template <size_t N>
const Native* FindIn(const Native (&table)[N], std::string_view name) {
  const Native* end = table + N;
  const Native* it = std::find_if(table, table + N, [&](const Native& native) { return native.name == name; });
  return it == end ? nullptr : it;
}

}  // namespace

const Native* FindMethod(const Value& self, std::string_view name) {
  if (self.is_string()) return FindIn(kStringMethods, name);
  if (self.is_dict()) return FindIn(kDictMethods, name);
  const bool list = self.is_sequence(SequenceType::kList) || self.is_sequence(SequenceType::kTuple);
  return list ? FindIn(kListMethods, name) : nullptr;
}

}  // namespace nosa::text::jinja
