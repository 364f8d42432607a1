#include "text/json_rules.h"

#include <algorithm>

#include "text/utf8.h"

namespace nosa::text {
namespace {

constexpr const char* kNames[] = {"white space", "any value",  "any object", "any array",  "any string",
                                  "any number",  "an integer", "a boolean",  "a character"};

ExprPtr Digits(int min, int max) { return Repeat(Class({{'0', '9'}}), min, max); }
ExprPtr OneOf(std::string_view characters) {
  CodeRanges ranges;
  for (const char c : characters) ranges.emplace_back(static_cast<char32_t>(c), static_cast<char32_t>(c));
  return Class(std::move(ranges));
}
ExprPtr Whole() {
  return Sequence({Optional(Literal("-")),
                   Choice({Literal("0"), Sequence({Class({{'1', '9'}}), Digits(0, JsonRules::kMostDigits - 1)})})});
}
// What stands for itself inside quotes.
CodeRanges Unescaped() { return Complement({{0, 0x1F}, {'"', '"'}, {'\\', '\\'}}); }

// \uXXXX: a character of its own, or two surrogates that make one.
ExprPtr AnyEscape() {
  const ExprPtr hex = Class({{'0', '9'}, {'a', 'f'}, {'A', 'F'}});
  const ExprPtr d = OneOf("dD"), two = Repeat(hex, 2, 2);
  const ExprPtr single =
      Choice({Sequence({Class({{'0', '9'}, {'a', 'c'}, {'A', 'C'}, {'e', 'f'}, {'E', 'F'}}), Repeat(hex, 3, 3)}),
              Sequence({d, Class({{'0', '7'}}), two})});
  const ExprPtr pair = Sequence({d, OneOf("89abAB"), two, Literal("\\u"), d, OneOf("cdefCDEF"), two});
  return Sequence({Literal("\\"), Choice({OneOf("\"\\/bfnrt"), Sequence({Literal("u"), Choice({single, pair})})})});
}

}  // namespace

ExprPtr JsonRules::Get(Part part) {
  if (parts_[part] == nullptr) {
    const int rule = rules_->Add(kNames[part]);
    parts_[part] = RuleRef(rule);  // before the body is made: values contain values
    const ExprPtr body = Make(part);
    rules_->rules[static_cast<size_t>(rule)].body = body;
  }
  return parts_[part];
}

ExprPtr JsonRules::Make(Part part) {
  switch (part) {
    case kSpace:
      return Optional(Choice({Literal(" "), Sequence({Literal("\n"), Repeat(Literal(" "), 0, kMostIndent)})}));
    case kValue: return Choice({Object(), Array(), String(), Number(), Boolean(), Null()});
    case kObject: {
      const ExprPtr pair = rules_->AddRef("a pair", Pair(String(), Value()));
      return Sequence({Literal("{"), Space(), Optional(Sequence({pair, Repeat(Next(pair), 0, kUnbounded), Space()})),
                       Literal("}")});
    }
    case kArray:
      return Sequence({Literal("["), Space(),
                       Optional(Sequence({Value(), Repeat(Next(Value()), 0, kUnbounded), Space()})), Literal("]")});
    case kString: return Sequence({Literal("\""), Repeat(Character(), 0, kUnbounded), Literal("\"")});
    case kNumber:
      return Sequence({Whole(), Optional(Sequence({Literal("."), Digits(1, kMostFraction)})),
                       Optional(Sequence({OneOf("eE"), Optional(OneOf("+-")), Digits(1, kMostExponent)}))});
    case kInteger: return Whole();
    case kBoolean: return Choice({Literal("true"), Literal("false")});
    case kCharacter: return Choice({Class(Unescaped()), AnyEscape()});
    case kParts: break;
  }
  return Literal("");
}

ExprPtr JsonRules::Pair(ExprPtr name, ExprPtr value) {
  return Sequence({std::move(name), Literal(":"), Optional(Literal(" ")), std::move(value)});
}

ExprPtr JsonRules::Exactly(const io::OrderedJson& value) {
  if (!value.is_structured() || value.empty()) return Literal(io::DumpJson(value));
  std::vector<ExprPtr> parts;
  for (const auto& [key, item] : value.items()) {
    const ExprPtr part = value.is_object() ? Pair(Literal(io::DumpJson(io::Json(key))), Exactly(item)) : Exactly(item);
    parts.push_back(parts.empty() ? part : Next(part));
  }
  parts.insert(parts.begin(), {Literal(value.is_object() ? "{" : "["), Space()});
  parts.insert(parts.end(), {Space(), Literal(value.is_object() ? "}" : "]")});
  return Sequence(std::move(parts));
}

ExprPtr JsonRules::Plain(const CodeRanges& ranges) {
  std::vector<ExprPtr> choices;
  const CodeRanges plain = Intersect(ranges, Unescaped());
  if (!plain.empty()) choices.push_back(Class(plain));
  for (const auto& [first, last] : Intersect(ranges, {{0, 0x1F}, {'"', '"'}, {'\\', '\\'}})) {
    for (char32_t c = first; c <= last; ++c) {
      const std::string quoted = io::DumpJson(io::Json(std::string(1, static_cast<char>(c))));
      choices.push_back(Literal(std::string_view(quoted).substr(1, quoted.size() - 2)));
    }
  }
  return Choice(std::move(choices));
}

ExprPtr JsonRules::OtherRest(const std::vector<std::u32string>& names, size_t begin, size_t end, size_t depth) {
  std::vector<ExprPtr> choices;
  CodeRanges taken;
  bool whole = false;  // one of the names ends here
  for (size_t i = begin; i < end;) {
    if (names[i].size() == depth) {
      whole = true;
      ++i;
      continue;
    }
    const char32_t c = names[i][depth];
    size_t same = i;
    while (same < end && names[same].size() > depth && names[same][depth] == c) ++same;
    choices.push_back(Sequence({Class({{c, c}}), OtherRest(names, i, same, depth + 1)}));
    taken.emplace_back(c, c);
    i = same;
  }
  const ExprPtr any = Class(Unescaped());
  choices.push_back(
      Sequence({Class(Intersect(Complement(Normalize(taken)), Unescaped())), Repeat(any, 0, kUnbounded)}));
  if (!whole) choices.push_back(Literal(""));
  return Choice(std::move(choices));
}

ExprPtr JsonRules::NameOtherThan(std::vector<std::string> names) {
  std::vector<std::u32string> characters;
  for (const std::string& name : names) {
    std::u32string& out = characters.emplace_back();
    for (size_t i = 0; i < name.size();) {
      const Utf8Step step = DecodeUtf8(std::string_view(name).substr(i));
      out.push_back(step.code_point);
      i += step.bytes;
    }
    // A name that has to be escaped cannot be written here anyway.
    const bool escaped =
        std::any_of(out.begin(), out.end(), [](char32_t c) { return c < 0x20 || c == '"' || c == '\\'; });
    if (escaped) characters.pop_back();
  }
  std::sort(characters.begin(), characters.end());
  return Sequence({Literal("\""), OtherRest(characters, 0, characters.size(), 0), Literal("\"")});
}

}  // namespace nosa::text
