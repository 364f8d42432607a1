// The objects that run a part of the tree: macros and loops.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "text/jinja/interpreter.h"

namespace nosa::text::jinja {

// A macro, or the caller of a call block.
class Macro final : public Object {
 public:
  Macro(const Stmt& stmt, ScopePtr scope) : stmt_(stmt), scope_(std::move(scope)) {}
  std::string Shown() const override { return fmt::format("<Macro '{}'>", stmt_.text); }
  std::optional<Value> Attribute(Interpreter&, std::string_view name) override;
  bool callable() const override { return true; }
  Value Call(Interpreter& interpreter, const Arguments& arguments) override;

 private:
  // Puts what is neither a parameter nor taken by varargs, kwargs or caller nowhere: it is an error.
  void BindRest(Interpreter& interpreter, const Arguments& arguments, Scope& scope) const;

  const Stmt& stmt_;
  const ScopePtr scope_;
};

// The variable `loop`. Calling it runs a recursive loop on other items.
class Loop final : public Object {
 public:
  Loop(const Stmt& stmt, Values items, ScopePtr scope, int depth)
      : stmt_(stmt), items_(std::move(items)), scope_(std::move(scope)), depth_(depth) {}
  std::string Shown() const override { return fmt::format("<LoopContext {}/{}>", index_ + 1, items_.size()); }
  std::optional<Value> Attribute(Interpreter& interpreter, std::string_view name) override;
  bool callable() const override { return stmt_.recursive; }
  Value Call(Interpreter& interpreter, const Arguments& arguments) override;

  const Values& items() const { return items_; }
  void Move(size_t index) { index_ = index; }
  Value Cycle(const Arguments& arguments) const;
  Value Changed(Interpreter& interpreter, const Arguments& arguments);

 private:
  Value ItemAt(size_t index, std::string_view name) const;

  const Stmt& stmt_;
  const Values items_;
  const ScopePtr scope_;
  const int depth_;
  size_t index_ = 0;
  std::optional<Value> last_;  // what changed() was given
};

}  // namespace nosa::text::jinja
