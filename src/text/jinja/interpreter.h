// Runs a tree: the scopes, the output and the objects of one rendering.
#pragma once

#include <cstdint>
#include <ctime>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/value.h"

namespace nosa::text::jinja {

// Variables; a name not found here is looked for further out.
struct Scope {
  std::map<std::string, Value, std::less<>> variables;
  std::shared_ptr<Scope> outer;
};
using ScopePtr = std::shared_ptr<Scope>;

struct Environment {
  int64_t max_steps = 0;
  int64_t max_value_bytes = 0;
  size_t max_output_bytes = 0;
  int max_depth = 0;
  std::function<std::time_t()> now;
};

// One rendering. The tree and the environment outlive it.
class Interpreter {
 public:
  explicit Interpreter(const Environment& environment);

  // Throws TemplateError, with a line.
  std::string Render(const Body& body, const io::OrderedJson& context);

  // For filters, tests, methods and functions.
  Budget& budget() { return budget_; }
  std::time_t Now() const { return environment_.now(); }
  Value Call(const Value& callee, const Arguments& arguments);
  Value Attribute(const Value& value, std::string_view name);  // value.name
  Value Item(const Value& value, const Value& key);            // value[key]
  Value Filter(const std::string& name, const Value& value, Arguments arguments);
  bool Test(const std::string& name, const Value& value, Arguments arguments);
  template <typename T, typename... Args>
  T* Make(Args&&... args) {
    budget_.Bytes(sizeof(T) + 64);
    objects_.push_back(std::make_unique<T>(std::forward<Args>(args)...));
    return static_cast<T*>(objects_.back().get());
  }

  // For the objects that run a part of the tree.
  enum class Flow { kNext, kBreak, kContinue };
  Value Eval(const Expr& expr, const ScopePtr& scope);
  std::string Capture(const Body& body, const ScopePtr& scope);
  std::string RunLoop(const Stmt& loop, const Value& iterable, const ScopePtr& scope, int depth);

 private:
  class Deeper;

  // expressions: interpreter_expressions.cc
  Value EvalNode(const Expr& expr, const ScopePtr& scope);
  Value EvalName(const Expr& expr, const ScopePtr& scope);
  Value EvalSlice(const Expr& expr, const ScopePtr& scope);
  Value EvalCall(const Expr& expr, const ScopePtr& scope);
  Value EvalUnary(const Expr& expr, const ScopePtr& scope);
  Value EvalCompare(const Expr& expr, const ScopePtr& scope);
  Value EvalCondition(const Expr& expr, const ScopePtr& scope);
  Value EvalConcat(const Expr& expr, const ScopePtr& scope);
  Value EvalDict(const Expr& expr, const ScopePtr& scope);
  Values EvalAll(const Expr& expr, const ScopePtr& scope);
  Arguments EvalArguments(const Expr& expr, const ScopePtr& scope);
  void EvalNamed(const Argument& argument, const ScopePtr& scope, Arguments* out);

  // statements: interpreter.cc
  Flow Exec(const Body& body, const ScopePtr& scope);
  Flow ExecOne(const Stmt& stmt, const ScopePtr& scope);
  Flow ExecIf(const Stmt& stmt, const ScopePtr& scope);
  Flow ExecFor(const Stmt& stmt, const Value& iterable, const ScopePtr& scope, int depth);
  Flow ExecWith(const Stmt& stmt, const ScopePtr& scope);
  void ExecSetBlock(const Stmt& stmt, const ScopePtr& scope);
  void ExecFilter(const Stmt& stmt, const ScopePtr& scope);
  void ExecCallBlock(const Stmt& stmt, const ScopePtr& scope);
  Value FilterText(const Expr* chain, std::string text, const ScopePtr& scope);
  void Assign(const Expr& target, Value value, const ScopePtr& scope);
  void Emit(std::string_view text);

  const Environment& environment_;
  Budget budget_;
  std::vector<std::unique_ptr<Object>> objects_;
  std::string output_;
  std::string* out_ = &output_;
  Value block_text_;  // what a filter block's chain starts with
  int depth_ = 0;
  int line_ = 0;
};

}  // namespace nosa::text::jinja
