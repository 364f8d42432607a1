#include "text/jinja/expression_parser.h"

#include <algorithm>
#include <charconv>
#include <cstdlib>

#include "text/jinja/parser.h"

namespace nosa::text::jinja {

// One level of recursion.
class ExpressionParser::Deeper {
 public:
  explicit Deeper(ExpressionParser& parser) : parser_(parser) {
    if (++parser_.depth_ > kMaxParseDepth) {
      throw TemplateError{"expressions are nested too deeply", parser_.tokens_.line(), true};
    }
  }
  ~Deeper() { --parser_.depth_; }

 private:
  ExpressionParser& parser_;
};

ExprPtr ExpressionParser::New(ExprKind kind, ExprPtr first, ExprPtr second) {
  auto expr = std::make_unique<Expr>();
  expr->kind = kind;
  expr->line = tokens_.line();
  if (first != nullptr) Adopt(*expr, std::move(first));
  if (second != nullptr) Adopt(*expr, std::move(second));
  return expr;
}

void ExpressionParser::Adopt(Expr& parent, ExprPtr child) {
  parent.depth = std::max(parent.depth, child->depth + 1);
  if (parent.depth > kMaxParseDepth) throw TemplateError{"an expression is too long a chain", child->line, true};
  parent.children.push_back(std::move(child));
}

ExprPtr ExpressionParser::Expression(bool with_condition) {
  const Deeper deeper(*this);
  return with_condition ? Condition() : Or();
}

ExprPtr ExpressionParser::Condition() {
  ExprPtr expr = Or();
  while (tokens_.SkipName("if")) {
    ExprPtr test = Or();
    expr = New(ExprKind::kIf, std::move(expr), std::move(test));
    if (tokens_.SkipName("else")) {
      Adopt(*expr, Expression());
    } else {
      expr->children.push_back(nullptr);
    }
  }
  return expr;
}

ExprPtr ExpressionParser::Or() {
  ExprPtr left = And();
  while (tokens_.SkipName("or")) left = New(ExprKind::kOr, std::move(left), And());
  return left;
}

ExprPtr ExpressionParser::And() {
  ExprPtr left = Not();
  while (tokens_.SkipName("and")) left = New(ExprKind::kAnd, std::move(left), Not());
  return left;
}

ExprPtr ExpressionParser::Not() {
  if (!tokens_.SkipName("not")) return Compare();
  const Deeper deeper(*this);
  ExprPtr expr = New(ExprKind::kUnary, Not());
  expr->name = "not";
  return expr;
}

ExprPtr ExpressionParser::Compare() {
  ExprPtr first = Sum();
  ExprPtr chain;
  while (true) {
    std::string op;
    for (const std::string_view known : {"==", "!=", "<", "<=", ">", ">="}) {
      if (tokens_.IsOperator(known)) op = known;
    }
    if (tokens_.IsName("in")) op = "in";
    if (tokens_.IsName("not") && tokens_.Peek(1).kind == TokenKind::kName && tokens_.Peek(1).text == "in") {
      tokens_.Next();
      op = "not in";
    }
    if (op.empty()) break;
    tokens_.Next();
    if (chain == nullptr) chain = New(ExprKind::kCompare, std::move(first));
    chain->operators.push_back(op);
    Adopt(*chain, Sum());
  }
  return chain != nullptr ? std::move(chain) : std::move(first);
}

ExprPtr ExpressionParser::Sum() {
  ExprPtr left = Concat();
  while (tokens_.IsOperator("+") || tokens_.IsOperator("-")) {
    const std::string op = tokens_.Next().text;
    left = New(ExprKind::kBinary, std::move(left), Concat());
    left->name = op;
  }
  return left;
}

ExprPtr ExpressionParser::Concat() {
  ExprPtr first = Product();
  if (!tokens_.IsOperator("~")) return first;
  ExprPtr expr = New(ExprKind::kConcat, std::move(first));
  while (tokens_.SkipOperator("~")) Adopt(*expr, Product());
  return expr;
}

ExprPtr ExpressionParser::Product() {
  ExprPtr left = Power();
  while (tokens_.IsOperator("*") || tokens_.IsOperator("/") || tokens_.IsOperator("//") || tokens_.IsOperator("%")) {
    const std::string op = tokens_.Next().text;
    left = New(ExprKind::kBinary, std::move(left), Power());
    left->name = op;
  }
  return left;
}

// Left to right, unlike Python's: -2**2 is 4 and 2**3**2 is 64.
ExprPtr ExpressionParser::Power() {
  ExprPtr left = Unary();
  while (tokens_.SkipOperator("**")) {
    left = New(ExprKind::kBinary, std::move(left), Unary());
    left->name = "**";
  }
  return left;
}

ExprPtr ExpressionParser::Unary(bool with_filters) {
  const Deeper deeper(*this);
  ExprPtr expr;
  if (tokens_.IsOperator("-") || tokens_.IsOperator("+")) {
    const std::string op = tokens_.Next().text;
    expr = New(ExprKind::kUnary, Unary(false));
    expr->name = op;
  } else {
    expr = Primary();
  }
  expr = Postfix(std::move(expr));
  return with_filters ? FiltersAndTests(std::move(expr)) : std::move(expr);
}

ExprPtr ExpressionParser::Primary() {
  if (tokens_.Is(TokenKind::kName)) return Name();
  if (tokens_.Is(TokenKind::kInteger) || tokens_.Is(TokenKind::kFloat)) return Number();
  if (tokens_.IsOperator("(")) return Parenthesized();
  if (tokens_.IsOperator("[")) return List();
  if (tokens_.IsOperator("{")) return Dictionary();
  if (!tokens_.Is(TokenKind::kString)) tokens_.FailHere("expected an expression, found " + tokens_.Found());
  ExprPtr expr = New(ExprKind::kConstant);
  std::string text;
  while (tokens_.Is(TokenKind::kString)) text += tokens_.Next().text;
  expr->value = Value(std::move(text));
  return expr;
}

ExprPtr ExpressionParser::Name() {
  ExprPtr expr = New(ExprKind::kConstant);
  const std::string name = tokens_.Next().text;
  if (name == "true" || name == "True") {
    expr->value = Value(true);
  } else if (name == "false" || name == "False") {
    expr->value = Value(false);
  } else if (name == "none" || name == "None") {
    expr->value = Value::None();
  } else {
    expr->kind = ExprKind::kName;
    expr->name = name;
    names_.push_back(name);
  }
  return expr;
}

ExprPtr ExpressionParser::Number() {
  ExprPtr expr = New(ExprKind::kConstant);
  const Token token = tokens_.Next();
  if (token.kind == TokenKind::kFloat) {
    expr->value = Value(std::strtod(token.text.c_str(), nullptr));
    return expr;
  }
  std::string_view digits = token.text;
  int base = 10;
  if (digits.size() > 1 && digits[0] == '0' && !(digits[1] >= '0' && digits[1] <= '9')) {
    base = (digits[1] | 0x20) == 'x' ? 16 : (digits[1] | 0x20) == 'o' ? 8 : 2;
    digits.remove_prefix(2);
  }
  int64_t value = 0;
  if (std::from_chars(digits.data(), digits.data() + digits.size(), value, base).ec != std::errc()) {
    throw TemplateError{fmt::format("the integer {} does not fit 64 bits", token.text), token.line};
  }
  expr->value = Value(value);
  return expr;
}

ExprPtr ExpressionParser::Parenthesized() {
  tokens_.ExpectOperator("(");
  if (tokens_.SkipOperator(")")) return New(ExprKind::kTuple);
  ExprPtr expr = Tuple(true);
  tokens_.ExpectOperator(")");
  return expr;
}

ExprPtr ExpressionParser::List() {
  ExprPtr list = New(ExprKind::kList);
  tokens_.ExpectOperator("[");
  while (!tokens_.IsOperator("]")) {
    if (!list->children.empty()) tokens_.ExpectOperator(",");
    if (tokens_.IsOperator("]")) break;
    Adopt(*list, Expression());
  }
  tokens_.ExpectOperator("]");
  return list;
}

ExprPtr ExpressionParser::Dictionary() {
  ExprPtr dict = New(ExprKind::kDict);
  tokens_.ExpectOperator("{");
  while (!tokens_.IsOperator("}")) {
    if (!dict->children.empty()) tokens_.ExpectOperator(",");
    if (tokens_.IsOperator("}")) break;
    Adopt(*dict, Expression());
    tokens_.ExpectOperator(":");
    Adopt(*dict, Expression());
  }
  tokens_.ExpectOperator("}");
  return dict;
}

bool ExpressionParser::TupleEnds(std::string_view stop) const {
  return tokens_.Is(TokenKind::kBlockEnd) || tokens_.Is(TokenKind::kPrintEnd) || tokens_.IsOperator(")") ||
         (!stop.empty() && tokens_.IsName(stop));
}

ExprPtr ExpressionParser::Tuple(bool with_condition, std::string_view stop) {
  ExprPtr first = Expression(with_condition);
  if (!tokens_.IsOperator(",")) return first;
  ExprPtr tuple = New(ExprKind::kTuple, std::move(first));
  while (tokens_.SkipOperator(",") && !TupleEnds(stop)) Adopt(*tuple, Expression(with_condition));
  return tuple;
}

ExprPtr ExpressionParser::Target(bool attributes, std::string_view stop) {
  const Deeper deeper(*this);
  const auto part = [&]() -> ExprPtr {
    if (tokens_.SkipOperator("(")) {
      ExprPtr inner = Target(false, "");
      tokens_.ExpectOperator(")");
      return inner;
    }
    ExprPtr name = New(ExprKind::kName);
    name->name = tokens_.ExpectAnyName();
    for (const std::string_view constant : {"true", "false", "none", "True", "False", "None"}) {
      if (name->name == constant) tokens_.FailHere(fmt::format("{} cannot be assigned to", constant));
    }
    return name;
  };
  ExprPtr target = part();
  if (attributes && target->kind == ExprKind::kName && tokens_.SkipOperator(".")) {
    names_.push_back(target->name);
    target = New(ExprKind::kAttribute, std::move(target));
    target->name = tokens_.ExpectAnyName();
    return target;
  }
  if (!tokens_.IsOperator(",")) return target;
  target = New(ExprKind::kTuple, std::move(target));
  while (tokens_.SkipOperator(",") && !TupleEnds(stop) && !tokens_.IsOperator("=")) Adopt(*target, part());
  return target;
}

ExprPtr ExpressionParser::Postfix(ExprPtr expr) {
  while (true) {
    if (tokens_.IsOperator(".") || tokens_.IsOperator("[")) {
      expr = Subscript(std::move(expr));
    } else if (tokens_.IsOperator("(")) {
      expr = Call(std::move(expr));
    } else {
      return expr;
    }
  }
}

ExprPtr ExpressionParser::FiltersAndTests(ExprPtr expr) {
  while (true) {
    if (tokens_.SkipOperator("|")) {
      expr = Filter(std::move(expr));
    } else if (tokens_.SkipName("is")) {
      expr = Test(std::move(expr));
    } else if (tokens_.IsOperator("(")) {
      expr = Call(std::move(expr));
    } else {
      return expr;
    }
  }
}

std::string ExpressionParser::DottedName() {
  std::string name = tokens_.ExpectAnyName();
  while (tokens_.SkipOperator(".")) name += "." + tokens_.ExpectAnyName();
  return name;
}

ExprPtr ExpressionParser::Filter(ExprPtr expr) {
  ExprPtr filter = New(ExprKind::kFilter, std::move(expr));
  filter->name = DottedName();
  if (tokens_.IsOperator("(")) Arguments(*filter);
  return filter;
}

ExprPtr ExpressionParser::FilterChain() {
  ExprPtr chain = Filter(nullptr);
  while (tokens_.SkipOperator("|")) chain = Filter(std::move(chain));
  return chain;
}

ExprPtr ExpressionParser::Test(ExprPtr expr) {
  const bool negated = tokens_.SkipName("not");
  ExprPtr test = New(ExprKind::kTest, std::move(expr));
  test->name = DottedName();
  const bool literal = tokens_.Is(TokenKind::kString) || tokens_.Is(TokenKind::kInteger) ||
                       tokens_.Is(TokenKind::kFloat) || tokens_.IsOperator("[") || tokens_.IsOperator("{");
  if (tokens_.IsOperator("(")) {
    Arguments(*test);
  } else if (literal || (tokens_.Is(TokenKind::kName) && !tokens_.IsAnyName({"else", "or", "and"}))) {
    if (tokens_.IsName("is")) tokens_.FailHere("tests cannot be chained with \"is\"");
    Argument argument;
    argument.value = Postfix(Primary());
    test->arguments.push_back(std::move(argument));
  }
  if (!negated) return test;
  test = New(ExprKind::kUnary, std::move(test));
  test->name = "not";
  return test;
}

ExprPtr ExpressionParser::Subscript(ExprPtr expr) {
  if (tokens_.SkipOperator(".")) {
    if (tokens_.Is(TokenKind::kInteger)) return New(ExprKind::kItem, std::move(expr), Number());
    ExprPtr attribute = New(ExprKind::kAttribute, std::move(expr));
    attribute->name = tokens_.ExpectAnyName();
    return attribute;
  }
  tokens_.ExpectOperator("[");
  expr = SubscriptItem(std::move(expr));
  tokens_.ExpectOperator("]");
  return expr;
}

ExprPtr ExpressionParser::SubscriptItem(ExprPtr expr) {
  ExprPtr parts[3];
  int colons = 0;
  for (int i = 0; i < 3; ++i) {
    if (!tokens_.IsOperator(":") && !tokens_.IsOperator("]")) parts[i] = Expression();
    if (i == 0 && tokens_.IsOperator(",")) {
      ExprPtr tuple = New(ExprKind::kTuple, std::move(parts[0]));
      while (tokens_.SkipOperator(",")) Adopt(*tuple, Expression());
      return New(ExprKind::kItem, std::move(expr), std::move(tuple));
    }
    if (i == 2 || !tokens_.SkipOperator(":")) break;
    ++colons;
  }
  if (colons == 0) {
    if (parts[0] == nullptr) tokens_.FailHere("expected an expression between brackets");
    return New(ExprKind::kItem, std::move(expr), std::move(parts[0]));
  }
  ExprPtr slice = New(ExprKind::kSlice, std::move(expr));
  for (ExprPtr& part : parts) {
    if (part != nullptr) {
      Adopt(*slice, std::move(part));
    } else {
      slice->children.push_back(nullptr);
    }
  }
  return slice;
}

ExprPtr ExpressionParser::Call(ExprPtr callee) {
  ExprPtr call = New(ExprKind::kCall, std::move(callee));
  Arguments(*call);
  return call;
}

void ExpressionParser::Arguments(Expr& call) {
  tokens_.ExpectOperator("(");
  bool named = false;
  while (!tokens_.IsOperator(")")) {
    if (!call.arguments.empty()) tokens_.ExpectOperator(",");
    if (tokens_.IsOperator(")")) break;
    Argument argument;
    if (tokens_.SkipOperator("*")) {
      argument.stars = 1;
    } else if (tokens_.SkipOperator("**")) {
      argument.stars = 2;
    } else if (tokens_.Is(TokenKind::kName) && tokens_.Peek(1).kind == TokenKind::kOperator &&
               tokens_.Peek(1).text == "=") {
      argument.name = tokens_.Next().text;
      tokens_.Next();
    }
    const bool by_place = argument.stars == 0 && argument.name.empty();
    if (named && by_place) tokens_.FailHere("an argument by place follows one by name");
    named = named || argument.stars == 2 || !argument.name.empty();
    argument.value = Expression();
    call.depth = std::max(call.depth, argument.value->depth + 1);
    call.arguments.push_back(std::move(argument));
  }
  tokens_.ExpectOperator(")");
}

}  // namespace nosa::text::jinja
