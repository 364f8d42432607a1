#include "text/jinja/parser.h"

#include <algorithm>
#include <initializer_list>

#include "text/jinja/expression_parser.h"
#include "text/jinja/lexer.h"
#include "text/jinja/token_stream.h"

namespace nosa::text::jinja {
namespace {

using StmtPtr = std::unique_ptr<Stmt>;
using Names = std::initializer_list<std::string_view>;

class Parser {
 public:
  explicit Parser(std::string_view source) : tokens_(Tokenize(source)), expressions_(tokens_) {}

  Body Template() {
    Body body = Statements({});
    if (!tokens_.Is(TokenKind::kEnd)) {
      tokens_.FailHere(fmt::format("the tag {} does not belong here", tokens_.Found()));
    }
    return body;
  }

 private:
  struct Tag {
    std::string_view name;
    StmtPtr (Parser::*parse)();
  };
  static const Tag kTags[11];

  StmtPtr New(StmtKind kind) {
    auto stmt = std::make_unique<Stmt>();
    stmt->kind = kind;
    stmt->line = tokens_.line();
    return stmt;
  }

  // Up to a tag named in `ends`, whose name is the next token then; or to the end of the template.
  Body Statements(Names ends) {
    if (++depth_ > kMaxParseDepth) throw TemplateError{"tags are nested too deeply", tokens_.line(), true};
    Body body;
    while (!tokens_.Is(TokenKind::kEnd)) {
      if (tokens_.Is(TokenKind::kText)) {
        StmtPtr text = New(StmtKind::kText);
        text->text = tokens_.Next().text;
        body.push_back(std::move(text));
      } else if (tokens_.Is(TokenKind::kPrintBegin)) {
        body.push_back(Print());
      } else {
        tokens_.Expect(TokenKind::kBlockBegin, "a tag");
        if (tokens_.IsAnyName(ends)) break;
        body.push_back(OneTag());
      }
    }
    if (ends.size() > 0 && tokens_.Is(TokenKind::kEnd)) {
      tokens_.FailHere(fmt::format("the template ends before the tag {}", *(ends.end() - 1)));
    }
    --depth_;
    return body;
  }

  // The body of a tag up to `end`, which is stepped over.
  Body BlockUpTo(Names ends) {
    EndTag();
    return Statements(ends);
  }
  void EndTag() { tokens_.Expect(TokenKind::kBlockEnd, "\"%}\""); }
  Body WholeBlock(std::string_view end) {
    Body body = BlockUpTo({end});
    tokens_.Next();
    EndTag();
    return body;
  }

  StmtPtr Print() {
    StmtPtr print = New(StmtKind::kPrint);
    tokens_.Next();
    print->expr = expressions_.Tuple(true);
    tokens_.Expect(TokenKind::kPrintEnd, "\"}}\"");
    return print;
  }

  StmtPtr OneTag() {
    if (!tokens_.Is(TokenKind::kName)) tokens_.FailHere("expected the name of a tag, found " + tokens_.Found());
    const std::string name = tokens_.Peek().text;
    for (const std::string_view refused : {"include", "import", "from", "extends", "block"}) {
      if (name == refused) tokens_.FailHere(fmt::format("the tag {} needs other templates, and there are none", name));
    }
    for (const Tag& tag : kTags) {
      if (name != tag.name) continue;
      const int line = tokens_.line();
      tokens_.Next();
      StmtPtr stmt = (this->*tag.parse)();
      stmt->line = line;
      return stmt;
    }
    tokens_.FailHere(fmt::format("the tag {} is unknown here", name));
  }

  StmtPtr If() {
    StmtPtr stmt = New(StmtKind::kIf);
    while (true) {
      ExprPtr test = expressions_.Tuple(false);
      Body body = BlockUpTo({"elif", "else", "endif"});
      stmt->branches.emplace_back(std::move(test), std::move(body));
      if (!tokens_.SkipName("elif")) break;
    }
    Otherwise(*stmt, "endif");
    return stmt;
  }
  void Otherwise(Stmt& stmt, std::string_view end) {
    if (tokens_.SkipName("else")) stmt.else_body = BlockUpTo({end});
    tokens_.Next();
    EndTag();
  }

  StmtPtr For() {
    StmtPtr stmt = New(StmtKind::kFor);
    stmt->target = expressions_.Target(false, "in");
    if (!tokens_.SkipName("in")) tokens_.FailHere("expected \"in\", found " + tokens_.Found());
    stmt->expr = expressions_.Tuple(false, "recursive");
    if (tokens_.SkipName("if")) stmt->filter = expressions_.Expression();
    stmt->recursive = tokens_.SkipName("recursive");
    ++loops_;
    stmt->body = BlockUpTo({"else", "endfor"});
    --loops_;
    Otherwise(*stmt, "endfor");
    return stmt;
  }

  StmtPtr Break() { return LoopControl(StmtKind::kBreak, "break"); }
  StmtPtr Continue() { return LoopControl(StmtKind::kContinue, "continue"); }
  StmtPtr LoopControl(StmtKind kind, std::string_view name) {
    if (loops_ == 0) tokens_.FailHere(fmt::format("{} is outside of a loop", name));
    StmtPtr stmt = New(kind);
    EndTag();
    return stmt;
  }

  StmtPtr Set() {
    StmtPtr stmt = New(StmtKind::kSet);
    stmt->target = expressions_.Target(true, "");
    if (tokens_.SkipOperator("=")) {
      stmt->expr = expressions_.Tuple(true);
      EndTag();
      return stmt;
    }
    stmt->kind = StmtKind::kSetBlock;
    if (tokens_.SkipOperator("|")) stmt->expr = expressions_.FilterChain();
    stmt->body = WholeBlock("endset");
    return stmt;
  }

  StmtPtr With() {
    StmtPtr stmt = New(StmtKind::kWith);
    while (!tokens_.Is(TokenKind::kBlockEnd)) {
      if (!stmt->assignments.empty()) tokens_.ExpectOperator(",");
      ExprPtr target = expressions_.Target(false, "");
      tokens_.ExpectOperator("=");
      stmt->assignments.emplace_back(std::move(target), expressions_.Expression());
    }
    stmt->body = WholeBlock("endwith");
    return stmt;
  }

  StmtPtr FilterTag() {
    StmtPtr stmt = New(StmtKind::kFilter);
    stmt->expr = expressions_.FilterChain();
    stmt->body = WholeBlock("endfilter");
    return stmt;
  }

  StmtPtr Generation() {
    StmtPtr stmt = New(StmtKind::kScope);
    MacroBody(*stmt, "endgeneration");
    return stmt;
  }

  StmtPtr PrintTag() {
    StmtPtr stmt = New(StmtKind::kPrint);
    stmt->expr = expressions_.Tuple(true);
    EndTag();
    return stmt;
  }

  StmtPtr Macro() {
    StmtPtr stmt = New(StmtKind::kMacro);
    stmt->text = tokens_.ExpectAnyName();
    Parameters(*stmt);
    MacroBody(*stmt, "endmacro");
    return stmt;
  }

  StmtPtr CallBlock() {
    StmtPtr stmt = New(StmtKind::kCallBlock);
    stmt->text = "caller";
    if (tokens_.IsOperator("(")) Parameters(*stmt);
    stmt->expr = expressions_.Unary();
    if (stmt->expr->kind != ExprKind::kCall) tokens_.FailHere("the tag call needs a call");
    MacroBody(*stmt, "endcall");
    return stmt;
  }

  void Parameters(Stmt& stmt) {
    tokens_.ExpectOperator("(");
    while (!tokens_.IsOperator(")")) {
      if (!stmt.parameters.empty()) tokens_.ExpectOperator(",");
      Parameter parameter;
      parameter.name = tokens_.ExpectAnyName();
      if (tokens_.SkipOperator("=")) {
        parameter.fallback = expressions_.Expression();
      } else if (!stmt.parameters.empty() && stmt.parameters.back().fallback != nullptr) {
        tokens_.FailHere(fmt::format("the parameter {} needs a default, as the one before has", parameter.name));
      }
      stmt.parameters.push_back(std::move(parameter));
    }
    tokens_.ExpectOperator(")");
  }

  void MacroBody(Stmt& stmt, std::string_view end) {
    const size_t before = expressions_.names().size();
    const int loops = std::exchange(loops_, 0);  // the loops around a macro are not its own
    stmt.body = WholeBlock(end);
    loops_ = loops;
    const auto uses = [&](std::string_view name) {
      const auto& names = expressions_.names();
      const bool is_parameter = std::any_of(stmt.parameters.begin(), stmt.parameters.end(),
                                            [&](const Parameter& parameter) { return parameter.name == name; });
      return !is_parameter &&
             std::find(names.begin() + static_cast<std::ptrdiff_t>(before), names.end(), name) != names.end();
    };
    stmt.uses_caller = uses("caller");
    stmt.uses_varargs = uses("varargs");
    stmt.uses_kwargs = uses("kwargs");
  }

  TokenStream tokens_;
  ExpressionParser expressions_;
  int depth_ = 0;
  int loops_ = 0;
};

const Parser::Tag Parser::kTags[11] = {
    {"if", &Parser::If},
    {"for", &Parser::For},
    {"set", &Parser::Set},
    {"macro", &Parser::Macro},
    {"call", &Parser::CallBlock},
    {"filter", &Parser::FilterTag},
    {"with", &Parser::With},
    {"break", &Parser::Break},
    {"continue", &Parser::Continue},
    {"generation", &Parser::Generation},
    {"print", &Parser::PrintTag},
};

}  // namespace

Body ParseTemplate(std::string_view source) { return Parser(source).Template(); }

}  // namespace nosa::text::jinja
