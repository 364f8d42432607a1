// The part of Interpreter that evaluates expressions.
#include "text/jinja/interpreter.h"
#include "text/jinja/library.h"
#include "text/jinja/operators.h"
#include "text/jinja/python_text.h"

namespace nosa::text::jinja {

// One level of recursion.
class Interpreter::Deeper {
 public:
  explicit Deeper(Interpreter& interpreter) : depth_(interpreter.depth_) {
    if (++depth_ > interpreter.environment_.max_depth) {
      throw TemplateError{"calls are nested too deeply", interpreter.line_, true};
    }
  }
  ~Deeper() { --depth_; }

 private:
  int& depth_;
};

Value Interpreter::Eval(const Expr& expr, const ScopePtr& scope) {
  const Deeper deeper(*this);
  budget_.Step();
  line_ = expr.line;
  return EvalNode(expr, scope);
}

Value Interpreter::EvalNode(const Expr& expr, const ScopePtr& scope) {
  const auto child = [&](size_t i) { return Eval(*expr.children[i], scope); };
  switch (expr.kind) {
    case ExprKind::kConstant: return expr.value;
    case ExprKind::kName: return EvalName(expr, scope);
    case ExprKind::kAttribute: return Attribute(child(0), expr.name);
    case ExprKind::kItem: {
      const Value value = child(0);
      return Item(value, child(1));
    }
    case ExprKind::kSlice: return EvalSlice(expr, scope);
    case ExprKind::kCall: return EvalCall(expr, scope);
    case ExprKind::kFilter: {
      const Value value = expr.children.empty() ? block_text_ : child(0);
      Arguments arguments = EvalArguments(expr, scope);
      line_ = expr.line;
      return Filter(expr.name, value, std::move(arguments));
    }
    case ExprKind::kTest: {
      const Value value = child(0);
      return Value(Test(expr.name, value, EvalArguments(expr, scope)));
    }
    case ExprKind::kUnary: return EvalUnary(expr, scope);
    case ExprKind::kBinary: {
      const Value left = child(0);
      const Value right = child(1);
      line_ = expr.line;
      return Binary(expr.name, left, right, budget_);
    }
    case ExprKind::kCompare: return EvalCompare(expr, scope);
    case ExprKind::kAnd: {
      Value left = child(0);
      return Truthy(left) ? child(1) : left;
    }
    case ExprKind::kOr: {
      Value left = child(0);
      return Truthy(left) ? left : child(1);
    }
    case ExprKind::kIf: return EvalCondition(expr, scope);
    case ExprKind::kConcat: return EvalConcat(expr, scope);
    case ExprKind::kList: return MakeList(EvalAll(expr, scope), budget_);
    case ExprKind::kTuple: return MakeTuple(EvalAll(expr, scope), budget_);
    case ExprKind::kDict: return EvalDict(expr, scope);
  }
  return Value();
}

Value Interpreter::EvalName(const Expr& expr, const ScopePtr& scope) {
  for (const Scope* at = scope.get(); at != nullptr; at = at->outer.get()) {
    budget_.Step();
    if (const auto it = at->variables.find(expr.name); it != at->variables.end()) return it->second;
  }
  if (const Native* global = FindGlobal(expr.name)) return Value(Make<NativeObject>(*global, Value()));
  return Value::Undefined(fmt::format("\"{}\" is undefined", expr.name));
}

Value Interpreter::EvalSlice(const Expr& expr, const ScopePtr& scope) {
  const Value value = Eval(*expr.children[0], scope);
  Value parts[3];
  for (size_t i = 0; i < 3; ++i) {
    parts[i] = expr.children[i + 1] != nullptr ? Eval(*expr.children[i + 1], scope) : Value::None();
  }
  return Slice(value, parts[0], parts[1], parts[2], budget_);
}

Value Interpreter::EvalCall(const Expr& expr, const ScopePtr& scope) {
  const Expr& callee = *expr.children[0];
  if (callee.kind == ExprKind::kAttribute) {  // a method, without an object for it
    const Value self = Eval(*callee.children[0], scope);
    if (const Native* method = FindMethod(self, callee.name)) {
      const Arguments arguments = EvalArguments(expr, scope);
      line_ = expr.line;
      return method->Run(*this, self, arguments);
    }
    const Value function = Attribute(self, callee.name);
    return Call(function, EvalArguments(expr, scope));
  }
  const Value function = Eval(callee, scope);
  const Arguments arguments = EvalArguments(expr, scope);
  line_ = expr.line;
  return Call(function, arguments);
}

Value Interpreter::Call(const Value& callee, const Arguments& arguments) {
  const Deeper deeper(*this);
  if (callee.is_undefined()) Fail("{}", callee.WhyUndefined());
  if (!callee.is(Kind::kObject)) Fail("a {} cannot be called", TypeName(callee));
  return callee.AsObject()->Call(*this, arguments);
}

Value Interpreter::EvalUnary(const Expr& expr, const ScopePtr& scope) {
  const Value value = Eval(*expr.children[0], scope);
  if (expr.name == "not") return Value(!Truthy(value));
  if (expr.name == "-") return Negate(value);
  if (value.is_undefined()) Fail("{}", value.WhyUndefined());
  if (!value.is_number()) Fail("+ does not work on a {}", TypeName(value));
  return value.is(Kind::kFloat) ? value : Value(value.AsInt());
}

Value Interpreter::EvalCompare(const Expr& expr, const ScopePtr& scope) {
  Value left = Eval(*expr.children[0], scope);
  for (size_t i = 0; i < expr.operators.size(); ++i) {
    Value right = Eval(*expr.children[i + 1], scope);
    line_ = expr.line;
    if (!Compare(expr.operators[i], left, right, budget_)) return Value(false);
    left = std::move(right);
  }
  return Value(true);
}

Value Interpreter::EvalCondition(const Expr& expr, const ScopePtr& scope) {
  if (Truthy(Eval(*expr.children[1], scope))) return Eval(*expr.children[0], scope);
  if (expr.children[2] != nullptr) return Eval(*expr.children[2], scope);
  return Value::Undefined("an inline if without else is undefined when its condition is false");
}

Value Interpreter::EvalConcat(const Expr& expr, const ScopePtr& scope) {
  std::string text;
  for (const Value& part : EvalAll(expr, scope)) text += Str(part, budget_);
  return Value(std::move(text));
}

Value Interpreter::EvalDict(const Expr& expr, const ScopePtr& scope) {
  Dict dict;
  for (size_t i = 0; i < expr.children.size(); i += 2) {
    const Value key = Eval(*expr.children[i], scope);
    dict.Set(key, Eval(*expr.children[i + 1], scope), budget_);
  }
  return MakeDict(std::move(dict), budget_);
}

Values Interpreter::EvalAll(const Expr& expr, const ScopePtr& scope) {
  Values values;
  for (const ExprPtr& child : expr.children) values.push_back(Eval(*child, scope));
  return values;
}

Arguments Interpreter::EvalArguments(const Expr& expr, const ScopePtr& scope) {
  Arguments arguments;
  for (const Argument& argument : expr.arguments) {
    if (argument.stars == 0 && argument.name.empty()) {
      arguments.positional.push_back(Eval(*argument.value, scope));
    } else if (argument.stars == 1) {
      for (Value& item : Iterate(Eval(*argument.value, scope), budget_))
        arguments.positional.push_back(std::move(item));
    } else {
      EvalNamed(argument, scope, &arguments);
    }
  }
  return arguments;
}

void Interpreter::EvalNamed(const Argument& argument, const ScopePtr& scope, Arguments* out) {
  const Value value = Eval(*argument.value, scope);
  if (argument.stars == 0) {
    out->named.emplace_back(argument.name, value);
    return;
  }
  if (!value.is_dict()) Fail("** takes a dict, not a {}", TypeName(value));
  for (const auto& [key, item] : value.AsDict().items) {
    if (!key.is_string()) Fail("** takes a dict whose keys are strings");
    out->named.emplace_back(key.AsString(), item);
  }
}

// As jinja2 looks: an attribute of the Python object first, then an item.
Value Interpreter::Attribute(const Value& value, std::string_view name) {
  if (name.starts_with("__") && value.is_undefined())
    return Value::Undefined(fmt::format("{} is not to be seen", name));
  if (value.is_undefined()) Fail("{}", value.WhyUndefined());
  if (const Native* method = FindMethod(value, name)) return Value(Make<NativeObject>(*method, value));
  if (value.is(Kind::kObject) && !name.starts_with('_')) {
    if (auto found = value.AsObject()->Attribute(*this, name)) return *found;
  }
  if (value.is_dict()) {
    // Methods of Python's dict that would change it: they hide the key, and the sandbox hides them.
    for (const std::string_view hidden : {"clear", "pop", "popitem", "setdefault", "update"}) {
      if (name == hidden) return Value::Undefined(fmt::format("a dict cannot be changed by {}", name));
    }
    if (const Value* item = value.AsDict().Find(name)) return *item;
  }
  return Value::Undefined(fmt::format("a {} has no attribute \"{}\"", TypeName(value), name));
}

Value Interpreter::Item(const Value& value, const Value& key) {
  if (value.is_undefined()) Fail("{}", value.WhyUndefined());
  if (value.is_dict()) {
    const bool hashable = !key.is_dict() && (!key.is_sequence() || key.is_sequence(SequenceType::kTuple));
    const Value* item = hashable ? value.AsDict().Find(key, budget_) : nullptr;
    if (item != nullptr) return *item;
  } else if (key.is_integral()) {
    const bool indexed = value.is_sequence(SequenceType::kList) || value.is_sequence(SequenceType::kTuple) ||
                         value.is_sequence(SequenceType::kRange);
    if (indexed || value.is_string()) {
      const int64_t size = *Length(value);
      const int64_t i = key.AsInt() < 0 ? key.AsInt() + size : key.AsInt();
      if (i < 0 || i >= size) return Value::Undefined(fmt::format("a {} has no item {}", TypeName(value), key.AsInt()));
      if (indexed) return value.AsSequence().items[static_cast<size_t>(i)];
      budget_.Bytes(value.AsString().size() * sizeof(std::string_view));
      return Value(std::string(Characters(value.AsString())[static_cast<size_t>(i)]));
    }
  }
  if (key.is_string()) return Attribute(value, key.AsString());
  return Value::Undefined(fmt::format("a {} has no item {}", TypeName(value), Repr(key, budget_)));
}

Value Interpreter::Filter(const std::string& name, const Value& value, Arguments arguments) {
  const Native* filter = FindFilter(name);
  if (filter == nullptr) Fail("the filter \"{}\" is unknown", name);
  return filter->Run(*this, value, arguments);
}

bool Interpreter::Test(const std::string& name, const Value& value, Arguments arguments) {
  const Native* test = FindTest(name);
  if (test == nullptr) Fail("the test \"{}\" is unknown", name);
  return Truthy(test->Run(*this, value, arguments));
}

}  // namespace nosa::text::jinja
