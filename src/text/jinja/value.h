// The values of a template: Python's, as far as templates use them. Immutable and cheap to copy; what can change
// (namespaces) or refers to scopes (macros, loops) is an Object that lives as long as the rendering.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "io/json.h"
#include "text/jinja/budget.h"

namespace nosa::text::jinja {

enum class Kind { kUndefined, kNone, kBool, kInt, kFloat, kString, kSequence, kDict, kObject };
enum class SequenceType { kList, kTuple, kRange, kKeys, kValues, kItems, kGenerator };

struct Sequence;
struct Dict;
class Object;

class Value {
 public:
  Value() = default;  // undefined
  explicit Value(bool value) : kind_(Kind::kBool), data_(value) {}
  explicit Value(int64_t value) : kind_(Kind::kInt), data_(value) {}
  explicit Value(double value) : kind_(Kind::kFloat), data_(value) {}
  // Well-formed UTF-8.
  explicit Value(std::string value)
      : kind_(Kind::kString), data_(std::make_shared<const std::string>(std::move(value))) {}
  explicit Value(std::shared_ptr<const Sequence> value) : kind_(Kind::kSequence), data_(std::move(value)) {}
  explicit Value(std::shared_ptr<const Dict> value) : kind_(Kind::kDict), data_(std::move(value)) {}
  // Borrowed from the rendering's arena.
  explicit Value(Object* value) : kind_(Kind::kObject), data_(value) {}
  static Value None() {
    Value value;
    value.kind_ = Kind::kNone;
    return value;
  }
  // `why` is the sentence of the error that using it makes.
  static Value Undefined(std::string why) {
    Value value(std::move(why));
    value.kind_ = Kind::kUndefined;
    return value;
  }

  Kind kind() const { return kind_; }
  bool is(Kind kind) const { return kind_ == kind; }
  bool is_undefined() const { return is(Kind::kUndefined); }
  bool is_none() const { return is(Kind::kNone); }
  bool is_string() const { return is(Kind::kString); }
  bool is_sequence() const { return is(Kind::kSequence); }
  bool is_sequence(SequenceType type) const;
  bool is_dict() const { return is(Kind::kDict); }
  // Python's integers, of which bool is a kind.
  bool is_integral() const { return is(Kind::kInt) || is(Kind::kBool); }
  bool is_number() const { return is_integral() || is(Kind::kFloat); }

  // Each only for its kind.
  int64_t AsInt() const { return is(Kind::kBool) ? std::get<bool>(data_) : std::get<int64_t>(data_); }
  double AsDouble() const { return is(Kind::kFloat) ? std::get<double>(data_) : static_cast<double>(AsInt()); }
  const std::string& AsString() const { return *std::get<std::shared_ptr<const std::string>>(data_); }
  const Sequence& AsSequence() const { return *std::get<std::shared_ptr<const Sequence>>(data_); }
  const Dict& AsDict() const { return *std::get<std::shared_ptr<const Dict>>(data_); }
  Object* AsObject() const { return std::get<Object*>(data_); }
  std::string WhyUndefined() const;

  // Whether both are one thing in memory, as far as that is visible: Python's `is`.
  bool SameAs(const Value& other) const;

 private:
  Kind kind_ = Kind::kUndefined;
  std::variant<std::monostate, bool, int64_t, double, std::shared_ptr<const std::string>,
               std::shared_ptr<const Sequence>, std::shared_ptr<const Dict>, Object*>
      data_;
};

using Values = std::vector<Value>;

struct Sequence {
  SequenceType type = SequenceType::kList;
  Values items;
  std::string shown;  // what a range prints
  int depth = 1;
  mutable bool consumed = false;  // a generator gives its items once
};

// Keeps the order of insertion. Keys are found by their canonical form, in which 1, 1.0 and True are one key.
struct Dict {
  std::vector<std::pair<Value, Value>> items;
  // Not hashed: a stranger chooses the keys of what a request gives to a template, and could choose ones that collide.
  std::map<std::string, size_t> places;
  int depth = 1;

  const Value* Find(std::string_view key) const;
  const Value* Find(const Value& key, Budget& budget) const;
  void Set(const Value& key, Value value, Budget& budget);
};

// Arguments of a call: by place, then by name.
struct Arguments {
  Values positional;
  std::vector<std::pair<std::string, Value>> named;
};

class Interpreter;

class Object {
 public:
  virtual ~Object() = default;
  // What printing it gives.
  virtual std::string Shown() const = 0;
  virtual std::optional<Value> Attribute(Interpreter&, std::string_view) { return std::nullopt; }
  virtual bool callable() const { return false; }
  virtual Value Call(Interpreter&, const Arguments&) { Fail("{} cannot be called", Shown()); }
};

Value MakeSequence(SequenceType type, Values items, Budget& budget);
inline Value MakeList(Values items, Budget& budget) {
  return MakeSequence(SequenceType::kList, std::move(items), budget);
}
inline Value MakeTuple(Values items, Budget& budget) {
  return MakeSequence(SequenceType::kTuple, std::move(items), budget);
}
Value MakeDict(Dict dict, Budget& budget);
Value MakeString(std::string text, Budget& budget);
// Ill-formed UTF-8 becomes U+FFFD.
Value FromJson(const io::OrderedJson& json, Budget& budget);

// "str", "int", "list" ...: Python's names, for messages.
std::string_view TypeName(const Value& value);
bool Truthy(const Value& value);
// Python's == and <. Less fails for types without an order.
bool Equal(const Value& a, const Value& b, Budget& budget);
bool Less(const Value& a, const Value& b, Budget& budget);
// Fails for what cannot be a key.
std::string CanonicalKey(const Value& value, Budget& budget);
// The items of anything that can be iterated: characters of a string, keys of a dict.
Values Iterate(const Value& value, Budget& budget);
bool IsIterable(const Value& value);
// len(), nothing when the type has none.
std::optional<int64_t> Length(const Value& value);

}  // namespace nosa::text::jinja
