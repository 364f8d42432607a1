// Expressions, by precedence: if-else, or, and, not, comparisons, + -, ~, * / // %, **, unary - +, then
// attributes, calls, filters and tests, which bind closest.
#pragma once

#include <string>
#include <vector>

#include "text/jinja/ast.h"
#include "text/jinja/token_stream.h"

namespace nosa::text::jinja {

class ExpressionParser {
 public:
  explicit ExpressionParser(TokenStream& tokens) : tokens_(tokens) {}

  ExprPtr Expression(bool with_condition = true);
  // One expression, or several with commas between as a tuple. `stop` is a name that ends it.
  ExprPtr Tuple(bool with_condition, std::string_view stop = "");
  // What a value can be assigned to: a name, names with commas, with `attributes` also name.attribute.
  ExprPtr Target(bool attributes, std::string_view stop);
  // "upper | replace(a, b)" of a filter tag, on the block's text.
  ExprPtr FilterChain();
  ExprPtr Unary(bool with_filters = true);

  // Names read so far, in order.
  const std::vector<std::string>& names() const { return names_; }

 private:
  class Deeper;

  ExprPtr New(ExprKind kind, ExprPtr first = nullptr, ExprPtr second = nullptr);
  static void Adopt(Expr& parent, ExprPtr child);
  ExprPtr Condition();
  ExprPtr Or();
  ExprPtr And();
  ExprPtr Not();
  ExprPtr Compare();
  ExprPtr Sum();
  ExprPtr Concat();
  ExprPtr Product();
  ExprPtr Power();
  ExprPtr Primary();
  ExprPtr Name();
  ExprPtr Number();
  ExprPtr Parenthesized();
  ExprPtr List();
  ExprPtr Dictionary();
  ExprPtr Postfix(ExprPtr expr);
  ExprPtr FiltersAndTests(ExprPtr expr);
  ExprPtr Filter(ExprPtr expr);
  ExprPtr Test(ExprPtr expr);
  ExprPtr Subscript(ExprPtr expr);
  ExprPtr SubscriptItem(ExprPtr expr);
  ExprPtr Call(ExprPtr callee);
  void Arguments(Expr& call);
  std::string DottedName();
  bool TupleEnds(std::string_view stop) const;

  TokenStream& tokens_;
  std::vector<std::string> names_;
  int depth_ = 0;
};

}  // namespace nosa::text::jinja
