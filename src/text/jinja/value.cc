#include "text/jinja/value.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "text/jinja/python_text.h"
#include "text/utf8.h"

namespace nosa::text::jinja {
namespace {

int DepthOf(const Value& value) {
  if (value.is_sequence()) return value.AsSequence().depth;
  if (value.is_dict()) return value.AsDict().depth;
  return 0;
}

void Deepen(int& depth, const Value& child) {
  depth = std::max(depth, DepthOf(child) + 1);
  if (depth > kMaxValueDepth) throw TemplateError{"values are nested too deeply", 0, true};
}

bool IsOrdered(const Value& value) {
  return value.is_sequence(SequenceType::kList) || value.is_sequence(SequenceType::kTuple);
}

bool SameNumber(const Value& a, const Value& b) {
  if (a.is_integral() && b.is_integral()) return a.AsInt() == b.AsInt();
  return a.AsDouble() == b.AsDouble();
}

bool EqualDicts(const Dict& a, const Dict& b, Budget& budget) {
  if (a.items.size() != b.items.size()) return false;
  for (const auto& [key, value] : a.items) {
    const Value* other = b.Find(key, budget);
    if (other == nullptr || !(value.SameAs(*other) || Equal(value, *other, budget))) return false;
  }
  return true;
}

}  // namespace

bool Value::is_sequence(SequenceType type) const { return is_sequence() && AsSequence().type == type; }

std::string Value::WhyUndefined() const {
  const auto* why = std::get_if<std::shared_ptr<const std::string>>(&data_);
  return why != nullptr ? **why : "a value is undefined";
}

bool Value::SameAs(const Value& other) const {
  if (kind_ != other.kind_) return false;
  if (is_string()) return AsString() == other.AsString();
  if (is_undefined()) return false;
  if (is_sequence(SequenceType::kTuple) && AsSequence().items.empty()) {
    return other.is_sequence(SequenceType::kTuple) && other.AsSequence().items.empty();
  }
  return data_ == other.data_;
}

const Value* Dict::Find(std::string_view key) const {
  const auto it = places.find("s" + std::string(key));
  return it == places.end() ? nullptr : &items[it->second].second;
}

const Value* Dict::Find(const Value& key, Budget& budget) const {
  const auto it = places.find(CanonicalKey(key, budget));
  return it == places.end() ? nullptr : &items[it->second].second;
}

void Dict::Set(const Value& key, Value value, Budget& budget) {
  Deepen(depth, value);
  const auto [it, added] = places.emplace(CanonicalKey(key, budget), items.size());
  if (added) {
    budget.Bytes(sizeof(items[0]) + it->first.size() + sizeof(size_t));
    items.emplace_back(key, std::move(value));
  } else {
    items[it->second].second = std::move(value);
  }
}

Value MakeSequence(SequenceType type, Values items, Budget& budget) {
  budget.Bytes(sizeof(Sequence) + items.size() * sizeof(Value));
  auto sequence = std::make_shared<Sequence>();
  sequence->type = type;
  for (const Value& item : items) Deepen(sequence->depth, item);
  sequence->items = std::move(items);
  return Value(std::shared_ptr<const Sequence>(std::move(sequence)));
}

Value MakeDict(Dict dict, Budget& budget) {
  budget.Bytes(sizeof(Dict));
  return Value(std::make_shared<const Dict>(std::move(dict)));
}

Value MakeString(std::string text, Budget& budget) {
  budget.Bytes(sizeof(std::string) + text.size());
  return Value(std::move(text));
}

Value FromJson(const io::OrderedJson& json, Budget& budget) {
  using Type = io::OrderedJson::value_t;
  budget.Step();
  const auto text = [&](const std::string& raw) {
    std::string clean;
    AppendWellFormed(raw, false, &clean);
    return MakeString(std::move(clean), budget);
  };
  switch (json.type()) {
    case Type::boolean: return Value(json.get<bool>());
    case Type::number_unsigned:
      if (json.get<uint64_t>() > uint64_t{std::numeric_limits<int64_t>::max()}) return Value(json.get<double>());
      return Value(json.get<int64_t>());
    case Type::number_integer: return Value(json.get<int64_t>());
    case Type::number_float: return Value(json.get<double>());
    case Type::string: return text(json.get_ref<const std::string&>());
    case Type::array: {
      Values items;
      for (const io::OrderedJson& item : json) items.push_back(FromJson(item, budget));
      return MakeList(std::move(items), budget);
    }
    case Type::object: {
      Dict dict;
      for (const auto& [key, item] : json.items()) dict.Set(text(key), FromJson(item, budget), budget);
      return MakeDict(std::move(dict), budget);
    }
    default: return Value::None();
  }
}

std::string_view TypeName(const Value& value) {
  static constexpr std::string_view kNames[] = {"list",        "tuple",      "range",    "dict_keys",
                                                "dict_values", "dict_items", "generator"};
  switch (value.kind()) {
    case Kind::kUndefined: return "Undefined";
    case Kind::kNone: return "NoneType";
    case Kind::kBool: return "bool";
    case Kind::kInt: return "int";
    case Kind::kFloat: return "float";
    case Kind::kString: return "str";
    case Kind::kSequence: return kNames[static_cast<int>(value.AsSequence().type)];
    case Kind::kDict: return "dict";
    case Kind::kObject: return "object";
  }
  return "";
}

bool Truthy(const Value& value) {
  switch (value.kind()) {
    case Kind::kUndefined:
    case Kind::kNone: return false;
    case Kind::kBool:
    case Kind::kInt: return value.AsInt() != 0;
    case Kind::kFloat: return value.AsDouble() != 0;
    case Kind::kString: return !value.AsString().empty();
    case Kind::kSequence: return value.is_sequence(SequenceType::kGenerator) || !value.AsSequence().items.empty();
    case Kind::kDict: return !value.AsDict().items.empty();
    case Kind::kObject: return true;
  }
  return false;
}

bool Equal(const Value& a, const Value& b, Budget& budget) {
  budget.Step();
  if (a.is_number() && b.is_number()) return SameNumber(a, b);
  if (a.kind() != b.kind()) return false;
  switch (a.kind()) {
    case Kind::kUndefined:
    case Kind::kNone: return true;
    case Kind::kString:
      budget.Step(static_cast<int64_t>(std::min(a.AsString().size(), b.AsString().size()) / 256));
      return a.AsString() == b.AsString();
    case Kind::kDict: return EqualDicts(a.AsDict(), b.AsDict(), budget);
    case Kind::kObject: return a.AsObject() == b.AsObject();
    default: break;
  }
  const Sequence& x = a.AsSequence();
  const Sequence& y = b.AsSequence();
  if (&x == &y) return true;
  if (x.type != y.type || x.items.size() != y.items.size()) return false;
  if (!IsOrdered(a) && x.type != SequenceType::kRange) return false;
  return std::equal(x.items.begin(), x.items.end(), y.items.begin(),
                    [&](const Value& p, const Value& q) { return p.SameAs(q) || Equal(p, q, budget); });
}

bool Less(const Value& a, const Value& b, Budget& budget) {
  budget.Step();
  if (a.is_integral() && b.is_integral()) return a.AsInt() < b.AsInt();
  if (a.is_number() && b.is_number()) return a.AsDouble() < b.AsDouble();
  if (a.is_string() && b.is_string()) {
    budget.Step(static_cast<int64_t>(std::min(a.AsString().size(), b.AsString().size()) / 256));
    return a.AsString() < b.AsString();  // the order of UTF-8 is that of code points
  }
  if (IsOrdered(a) && IsOrdered(b) && a.AsSequence().type == b.AsSequence().type) {
    const Values& x = a.AsSequence().items;
    const Values& y = b.AsSequence().items;
    for (size_t i = 0; i < std::min(x.size(), y.size()); ++i) {
      if (!x[i].SameAs(y[i]) && !Equal(x[i], y[i], budget)) return Less(x[i], y[i], budget);
    }
    return x.size() < y.size();
  }
  if (a.is_undefined()) Fail("{}", a.WhyUndefined());
  if (b.is_undefined()) Fail("{}", b.WhyUndefined());
  Fail("{} and {} have no order", TypeName(a), TypeName(b));
}

std::string CanonicalKey(const Value& value, Budget& budget) {
  budget.Step();
  switch (value.kind()) {
    case Kind::kString: return "s" + value.AsString();
    case Kind::kBool:
    case Kind::kInt: return "i" + std::to_string(value.AsInt());
    case Kind::kFloat: {
      const double number = value.AsDouble();
      if (std::trunc(number) == number && std::abs(number) < 0x1p62) {
        return "i" + std::to_string(static_cast<int64_t>(number));
      }
      return "f" + FloatText(number);
    }
    case Kind::kNone: return "n";
    case Kind::kUndefined: return "u";
    case Kind::kObject: return fmt::format("o{}", static_cast<const void*>(value.AsObject()));
    default: break;
  }
  if (!value.is_sequence(SequenceType::kTuple)) Fail("a {} cannot be a key", TypeName(value));
  std::string key = "t";
  for (const Value& item : value.AsSequence().items) {
    const std::string part = CanonicalKey(item, budget);
    budget.Bytes(part.size());
    key += std::to_string(part.size()) + ":" + part;
  }
  return key;
}

Values Iterate(const Value& value, Budget& budget) {
  if (value.is_undefined()) return {};
  if (value.is_string()) {
    Values characters;
    budget.Bytes(value.AsString().size() * sizeof(Value));
    for (const std::string_view c : Characters(value.AsString())) characters.emplace_back(std::string(c));
    return characters;
  }
  if (value.is_dict()) {
    Values keys;
    budget.Bytes(value.AsDict().items.size() * sizeof(Value));
    for (const auto& [key, _] : value.AsDict().items) keys.push_back(key);
    return keys;
  }
  if (!value.is_sequence()) Fail("a {} cannot be iterated", TypeName(value));
  const Sequence& sequence = value.AsSequence();
  if (sequence.type == SequenceType::kGenerator) {
    if (sequence.consumed) return {};
    sequence.consumed = true;
  }
  budget.Bytes(sequence.items.size() * sizeof(Value));
  return sequence.items;
}

bool IsIterable(const Value& value) {
  return value.is_undefined() || value.is_string() || value.is_dict() || value.is_sequence();
}

std::optional<int64_t> Length(const Value& value) {
  if (value.is_undefined()) return 0;
  if (value.is_string()) return static_cast<int64_t>(CountCharacters(value.AsString()));
  if (value.is_dict()) return static_cast<int64_t>(value.AsDict().items.size());
  if (!value.is_sequence() || value.is_sequence(SequenceType::kGenerator)) return std::nullopt;
  return static_cast<int64_t>(value.AsSequence().items.size());
}

}  // namespace nosa::text::jinja
