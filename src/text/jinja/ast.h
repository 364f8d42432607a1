// A template as a tree. Nodes own what is below them; the depth of the tree is bounded by the parser.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "text/jinja/value.h"

namespace nosa::text::jinja {

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Argument {
  std::string name;  // empty: by place
  int stars = 0;     // *list, **dict
  ExprPtr value;
};

enum class ExprKind {
  kConstant,   // value
  kName,       // name
  kAttribute,  // children[0].name
  kItem,       // children[0][children[1]]
  kSlice,      // children[0][children[1]:children[2]:children[3]], the last three may be null
  kCall,       // children[0](arguments)
  kFilter,     // children[0] | name(arguments); without a child, the text of the block around it
  kTest,       // children[0] is name(arguments)
  kUnary,      // name: - + not
  kBinary,     // name: + - * / // % **
  kCompare,    // children with operators between
  kAnd,
  kOr,
  kIf,      // children[0] if children[1] else children[2] (may be null)
  kConcat,  // ~ of all children
  kList,
  kTuple,
  kDict,  // key, value, key, value ...
};

struct Expr {
  ExprKind kind = ExprKind::kConstant;
  int line = 0;
  int depth = 1;
  std::string name;
  Value value;
  std::vector<ExprPtr> children;
  std::vector<std::string> operators;
  std::vector<Argument> arguments;
};

struct Stmt;
using Body = std::vector<std::unique_ptr<Stmt>>;

struct Parameter {
  std::string name;
  ExprPtr fallback;  // null: undefined when not given
};

enum class StmtKind {
  kText,       // text
  kPrint,      // expr
  kIf,         // branches, else_body
  kFor,        // target in expr if filter: body, else_body
  kSet,        // target = expr
  kSetBlock,   // target = body, through expr (may be null)
  kMacro,      // text(parameters): body
  kCallBlock,  // expr is the call; parameters and body are its caller
  kFilter,     // body through expr
  kWith,       // targets = values: body
  kScope,      // body, as the generation tag has it
  kBreak,
  kContinue,
};

struct Stmt {
  StmtKind kind = StmtKind::kText;
  int line = 0;
  std::string text;
  ExprPtr target, expr, filter;
  std::vector<std::pair<ExprPtr, Body>> branches;
  std::vector<std::pair<ExprPtr, ExprPtr>> assignments;
  std::vector<Parameter> parameters;
  Body body, else_body;
  bool recursive = false;
  bool uses_caller = false, uses_varargs = false, uses_kwargs = false;  // of a macro's body
};

}  // namespace nosa::text::jinja
