#include "text/jinja/callables.h"

#include <algorithm>

#include "text/jinja/library.h"

namespace nosa::text::jinja {
namespace {

const Native kCycle = {"loop.cycle", "", nullptr, [](Interpreter&, const Value& self, const Arguments& arguments) {
                         return static_cast<Loop*>(self.AsObject())->Cycle(arguments);
                       }};
const Native kChanged = {"loop.changed", "", nullptr,
                         [](Interpreter& interpreter, const Value& self, const Arguments& arguments) {
                           return static_cast<Loop*>(self.AsObject())->Changed(interpreter, arguments);
                         }};

const Value* FindNamed(const Arguments& arguments, std::string_view name) {
  for (const auto& [key, value] : arguments.named) {
    if (key == name) return &value;
  }
  return nullptr;
}

}  // namespace

std::optional<Value> Macro::Attribute(Interpreter& interpreter, std::string_view name) {
  if (name == "name") return Value(stmt_.text);
  if (name != "arguments") return std::nullopt;
  Values names;
  for (const Parameter& parameter : stmt_.parameters) names.push_back(Value(parameter.name));
  return MakeTuple(std::move(names), interpreter.budget());
}

Value Macro::Call(Interpreter& interpreter, const Arguments& arguments) {
  const auto scope = std::make_shared<Scope>();
  scope->outer = scope_;
  BindRest(interpreter, arguments, *scope);
  for (size_t i = 0; i < stmt_.parameters.size(); ++i) {
    const Parameter& parameter = stmt_.parameters[i];
    const Value* named = FindNamed(arguments, parameter.name);
    Value value;
    if (i < arguments.positional.size()) {
      value = arguments.positional[i];
    } else if (named != nullptr) {
      value = *named;
    } else if (parameter.fallback != nullptr) {
      value = interpreter.Eval(*parameter.fallback, scope);
    } else {
      value = Value::Undefined(fmt::format("the parameter {} was not provided", parameter.name));
    }
    scope->variables[parameter.name] = std::move(value);
  }
  return Value(interpreter.Capture(stmt_.body, scope));
}

void Macro::BindRest(Interpreter& interpreter, const Arguments& arguments, Scope& scope) const {
  const size_t count = stmt_.parameters.size();
  const size_t by_place = std::min(count, arguments.positional.size());
  Values varargs(arguments.positional.begin() + static_cast<std::ptrdiff_t>(by_place), arguments.positional.end());
  if (!varargs.empty() && !stmt_.uses_varargs) Fail("the macro {} takes at most {} arguments", stmt_.text, count);
  Dict kwargs;
  Value caller = Value::Undefined("there is no caller");
  for (const auto& [name, value] : arguments.named) {
    const auto it = std::find_if(stmt_.parameters.begin(), stmt_.parameters.end(),
                                 [&, &key = name](const Parameter& parameter) { return parameter.name == key; });
    const auto place = static_cast<size_t>(it - stmt_.parameters.begin());
    if (place < count && place >= by_place) continue;
    if (name == "caller" && stmt_.uses_caller) {
      caller = value;
    } else if (stmt_.uses_kwargs) {
      kwargs.Set(Value(name), value, interpreter.budget());
    } else {
      Fail("the macro {} has no argument \"{}\" left", stmt_.text, name);
    }
  }
  if (stmt_.uses_varargs) scope.variables["varargs"] = MakeTuple(std::move(varargs), interpreter.budget());
  if (stmt_.uses_kwargs) scope.variables["kwargs"] = MakeDict(std::move(kwargs), interpreter.budget());
  if (stmt_.uses_caller) scope.variables["caller"] = caller;
}

Value Loop::ItemAt(size_t index, std::string_view name) const {
  if (index < items_.size()) return items_[index];
  return Value::Undefined(fmt::format("the loop has no {} here", name));
}

std::optional<Value> Loop::Attribute(Interpreter& interpreter, std::string_view name) {
  const auto index = static_cast<int64_t>(index_), size = static_cast<int64_t>(items_.size());
  if (name == "index") return Value(index + 1);
  if (name == "index0") return Value(index);
  if (name == "revindex") return Value(size - index);
  if (name == "revindex0") return Value(size - index - 1);
  if (name == "first") return Value(index == 0);
  if (name == "last") return Value(index + 1 == size);
  if (name == "length") return Value(size);
  if (name == "depth") return Value(int64_t{depth_} + 1);
  if (name == "depth0") return Value(int64_t{depth_});
  if (name == "previtem") return ItemAt(index_ - 1, name);  // before the first: past every end
  if (name == "nextitem") return ItemAt(index_ + 1, name);
  if (name == "cycle") return Value(interpreter.Make<NativeObject>(kCycle, Value(this)));
  if (name == "changed") return Value(interpreter.Make<NativeObject>(kChanged, Value(this)));
  return std::nullopt;
}

Value Loop::Cycle(const Arguments& arguments) const {
  if (arguments.positional.empty() || !arguments.named.empty()) Fail("loop.cycle needs values to cycle through");
  return arguments.positional[index_ % arguments.positional.size()];
}

Value Loop::Changed(Interpreter& interpreter, const Arguments& arguments) {
  if (!arguments.named.empty()) Fail("loop.changed takes no named arguments");
  const Value now = MakeTuple(arguments.positional, interpreter.budget());
  const bool changed = !last_.has_value() || !Equal(*last_, now, interpreter.budget());
  if (changed) last_ = now;
  return Value(changed);
}

Value Loop::Call(Interpreter& interpreter, const Arguments& arguments) {
  if (!stmt_.recursive) Fail("the loop is not marked \"recursive\", and cannot be called");
  if (arguments.positional.size() != 1 || !arguments.named.empty()) Fail("a recursive loop is called with its items");
  return Value(interpreter.RunLoop(stmt_, arguments.positional[0], scope_, depth_ + 1));
}

}  // namespace nosa::text::jinja
