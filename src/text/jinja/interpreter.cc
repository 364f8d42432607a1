#include "text/jinja/interpreter.h"

#include "text/jinja/callables.h"
#include "text/jinja/library.h"
#include "text/jinja/python_text.h"

namespace nosa::text::jinja {
namespace {

ScopePtr Inner(const ScopePtr& outer) {
  auto scope = std::make_shared<Scope>();
  scope->outer = outer;
  return scope;
}

// Sends output into a string while it lives, also when an error ends it.
class Redirect {
 public:
  Redirect(std::string*& out, std::string* to) : out_(out), before_(out) { out = to; }
  ~Redirect() { out_ = before_; }
  Redirect(const Redirect&) = delete;
  Redirect& operator=(const Redirect&) = delete;

 private:
  std::string*& out_;
  std::string* const before_;
};

}  // namespace

Interpreter::Interpreter(const Environment& environment)
    : environment_(environment), budget_(environment.max_steps, environment.max_value_bytes) {}

std::string Interpreter::Render(const Body& body, const io::OrderedJson& context) {
  const auto globals = std::make_shared<Scope>();
  try {
    if (!context.is_object()) Fail("the context is no JSON object");
    for (const auto& [name, value] : context.items()) globals->variables[name] = FromJson(value, budget_);
    Exec(body, Inner(globals));
  } catch (TemplateError& error) {
    if (error.line == 0) error.line = line_;
    throw;
  }
  return std::move(output_);
}

void Interpreter::Emit(std::string_view text) {
  if (out_ == &output_ && output_.size() + text.size() > environment_.max_output_bytes) {
    throw TemplateError{fmt::format("the output is longer than {} bytes", environment_.max_output_bytes), 0, true};
  }
  budget_.Bytes(text.size());
  *out_ += text;
}

std::string Interpreter::Capture(const Body& body, const ScopePtr& scope) {
  std::string text;
  const Redirect redirect(out_, &text);
  Exec(body, scope);
  return text;
}

Interpreter::Flow Interpreter::Exec(const Body& body, const ScopePtr& scope) {
  for (const auto& stmt : body) {
    budget_.Step();
    line_ = stmt->line;
    if (++depth_ > environment_.max_depth) throw TemplateError{"calls are nested too deeply", 0, true};
    const Flow flow = ExecOne(*stmt, scope);
    --depth_;
    if (flow != Flow::kNext) return flow;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecOne(const Stmt& stmt, const ScopePtr& scope) {
  switch (stmt.kind) {
    case StmtKind::kText: Emit(stmt.text); break;
    case StmtKind::kPrint: Emit(Str(Eval(*stmt.expr, scope), budget_)); break;
    case StmtKind::kIf: return ExecIf(stmt, scope);
    case StmtKind::kFor: return ExecFor(stmt, Eval(*stmt.expr, scope), scope, 0);
    case StmtKind::kSet: Assign(*stmt.target, Eval(*stmt.expr, scope), scope); break;
    case StmtKind::kSetBlock: ExecSetBlock(stmt, scope); break;
    case StmtKind::kMacro: scope->variables[stmt.text] = Value(Make<Macro>(stmt, scope)); break;
    case StmtKind::kCallBlock: ExecCallBlock(stmt, scope); break;
    case StmtKind::kFilter: ExecFilter(stmt, scope); break;
    case StmtKind::kWith: return ExecWith(stmt, scope);
    case StmtKind::kScope: return Exec(stmt.body, Inner(scope));
    case StmtKind::kBreak: return Flow::kBreak;
    case StmtKind::kContinue: return Flow::kContinue;
  }
  return Flow::kNext;
}

Interpreter::Flow Interpreter::ExecIf(const Stmt& stmt, const ScopePtr& scope) {
  for (const auto& [test, body] : stmt.branches) {
    if (Truthy(Eval(*test, scope))) return Exec(body, scope);
  }
  return Exec(stmt.else_body, scope);
}

std::string Interpreter::RunLoop(const Stmt& loop, const Value& iterable, const ScopePtr& scope, int depth) {
  std::string text;
  const Redirect redirect(out_, &text);
  ExecFor(loop, iterable, scope, depth);
  return text;
}

Interpreter::Flow Interpreter::ExecFor(const Stmt& stmt, const Value& iterable, const ScopePtr& scope, int depth) {
  Values items = Iterate(iterable, budget_);
  if (stmt.filter != nullptr) {
    Values kept;
    for (Value& item : items) {
      const ScopePtr inner = Inner(scope);
      Assign(*stmt.target, item, inner);
      if (Truthy(Eval(*stmt.filter, inner))) kept.push_back(std::move(item));
    }
    items = std::move(kept);
  }
  bool completed = false;  // jinja2 runs the else part too when every round ends in continue, or the first in break
  Loop* loop = Make<Loop>(stmt, std::move(items), scope, depth);
  for (size_t i = 0; i < loop->items().size(); ++i) {
    budget_.Step();
    loop->Move(i);
    const ScopePtr inner = Inner(scope);
    inner->variables["loop"] = Value(loop);
    Assign(*stmt.target, loop->items()[i], inner);
    const Flow flow = Exec(stmt.body, inner);
    if (flow == Flow::kBreak) break;
    completed = completed || flow == Flow::kNext;
  }
  return completed ? Flow::kNext : Exec(stmt.else_body, Inner(scope));
}

Interpreter::Flow Interpreter::ExecWith(const Stmt& stmt, const ScopePtr& scope) {
  const ScopePtr inner = Inner(scope);
  for (const auto& [target, value] : stmt.assignments) Assign(*target, Eval(*value, scope), inner);
  return Exec(stmt.body, inner);
}

void Interpreter::ExecSetBlock(const Stmt& stmt, const ScopePtr& scope) {
  Value text = FilterText(stmt.expr.get(), Capture(stmt.body, Inner(scope)), scope);
  Assign(*stmt.target, std::move(text), scope);
}

void Interpreter::ExecFilter(const Stmt& stmt, const ScopePtr& scope) {
  const Value text = FilterText(stmt.expr.get(), Capture(stmt.body, Inner(scope)), scope);
  if (!text.is_string()) Fail("the tag filter makes a {}, not a string", TypeName(text));
  Emit(text.AsString());
}

void Interpreter::ExecCallBlock(const Stmt& stmt, const ScopePtr& scope) {
  const Value callee = Eval(*stmt.expr->children[0], scope);
  Arguments arguments = EvalArguments(*stmt.expr, scope);
  arguments.named.emplace_back("caller", Value(Make<Macro>(stmt, scope)));
  Emit(Str(Call(callee, arguments), budget_));
}

Value Interpreter::FilterText(const Expr* chain, std::string text, const ScopePtr& scope) {
  if (chain == nullptr) return Value(std::move(text));
  const Value outer = std::exchange(block_text_, Value(std::move(text)));
  Value result = Eval(*chain, scope);
  block_text_ = outer;
  return result;
}

void Interpreter::Assign(const Expr& target, Value value, const ScopePtr& scope) {
  if (target.kind == ExprKind::kName) {
    budget_.Bytes(target.name.size() + sizeof(Value));
    scope->variables[target.name] = std::move(value);
  } else if (target.kind == ExprKind::kAttribute) {
    const Value holder = Eval(*target.children[0], scope);
    auto* space = holder.is(Kind::kObject) ? dynamic_cast<Namespace*>(holder.AsObject()) : nullptr;
    if (space == nullptr) Fail("only an attribute of a namespace can be set, not of a {}", TypeName(holder));
    budget_.Bytes(target.name.size() + sizeof(Value));
    space->attributes[target.name] = std::move(value);
  } else {
    if (!IsIterable(value)) Fail("a {} cannot be unpacked", TypeName(value));
    const Values items = Iterate(value, budget_);
    if (items.size() != target.children.size()) {
      Fail("{} values cannot be unpacked into {} names", items.size(), target.children.size());
    }
    for (size_t i = 0; i < items.size(); ++i) Assign(*target.children[i], items[i], scope);
  }
}

}  // namespace nosa::text::jinja
