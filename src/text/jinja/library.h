// The tables: filters, tests, methods and global functions, a line each.
#pragma once

#include <optional>
#include <string_view>

#include "text/jinja/arguments.h"
#include "text/jinja/interpreter.h"

namespace nosa::text::jinja {

// A native function: with a `spec` it gets its arguments bound, else as they came. The value that a filter,
// a test or a method is applied to comes first.
struct Native {
  std::string_view name;
  std::string_view spec;
  Value (*bound)(Interpreter&, const Value& self, const Bound&) = nullptr;
  Value (*raw)(Interpreter&, const Value& self, const Arguments&) = nullptr;

  Value Run(Interpreter& interpreter, const Value& self, const Arguments& arguments) const {
    return raw != nullptr ? raw(interpreter, self, arguments) : bound(interpreter, self, Bound(name, spec, arguments));
  }
};

// Null when there is none.
const Native* FindFilter(std::string_view name);
const Native* FindTest(std::string_view name);
const Native* FindMethod(const Value& self, std::string_view name);
const Native* FindGlobal(std::string_view name);

// A function or bound method as a value.
class NativeObject final : public Object {
 public:
  NativeObject(const Native& native, Value self) : native_(native), self_(std::move(self)) {}
  std::string Shown() const override { return fmt::format("<function {}>", native_.name); }
  bool callable() const override { return true; }
  Value Call(Interpreter& interpreter, const Arguments& arguments) override {
    return native_.Run(interpreter, self_, arguments);
  }

 private:
  const Native& native_;
  const Value self_;
};

// namespace(): the one thing that templates can change.
class Namespace final : public Object {
 public:
  std::string Shown() const override { return "<Namespace>"; }
  std::optional<Value> Attribute(Interpreter&, std::string_view name) override {
    const auto it = attributes.find(name);
    return it == attributes.end() ? std::nullopt : std::optional(it->second);
  }
  std::map<std::string, Value, std::less<>> attributes;
};

}  // namespace nosa::text::jinja
