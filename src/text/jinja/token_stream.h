// The parser's place in the tokens.
#pragma once

#include <algorithm>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/jinja/budget.h"
#include "text/jinja/lexer.h"

namespace nosa::text::jinja {

class TokenStream {
 public:
  explicit TokenStream(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}

  const Token& Peek(size_t ahead = 0) const { return tokens_[std::min(place_ + ahead, tokens_.size() - 1)]; }
  Token Next() {
    Token token = Peek();
    if (place_ + 1 < tokens_.size()) ++place_;
    return token;
  }
  int line() const { return Peek().line; }

  bool Is(TokenKind kind) const { return Peek().kind == kind; }
  bool IsOperator(std::string_view text) const { return Is(TokenKind::kOperator) && Peek().text == text; }
  bool IsName(std::string_view text) const { return Is(TokenKind::kName) && Peek().text == text; }
  bool IsAnyName(std::initializer_list<std::string_view> names) const {
    for (const std::string_view name : names) {
      if (IsName(name)) return true;
    }
    return false;
  }
  bool SkipOperator(std::string_view text) { return IsOperator(text) && (Next(), true); }
  bool SkipName(std::string_view text) { return IsName(text) && (Next(), true); }
  void ExpectOperator(std::string_view text) {
    if (!SkipOperator(text)) FailHere(fmt::format("expected \"{}\", found {}", text, Found()));
  }
  void Expect(TokenKind kind, std::string_view what) {
    if (!Is(kind)) FailHere(fmt::format("expected {}, found {}", what, Found()));
    Next();
  }
  std::string ExpectAnyName() {
    if (!Is(TokenKind::kName)) FailHere(fmt::format("expected a name, found {}", Found()));
    return Next().text;
  }

  std::string Found() const {
    switch (Peek().kind) {
      case TokenKind::kText: return "text";
      case TokenKind::kBlockBegin: return "\"{%\"";
      case TokenKind::kBlockEnd: return "\"%}\"";
      case TokenKind::kPrintBegin: return "\"{{\"";
      case TokenKind::kPrintEnd: return "\"}}\"";
      case TokenKind::kEnd: return "the end of the template";
      default: return fmt::format("\"{}\"", Peek().text);
    }
  }
  [[noreturn]] void FailHere(std::string message) const { throw TemplateError{std::move(message), line()}; }

 private:
  std::vector<Token> tokens_;
  size_t place_ = 0;
};

}  // namespace nosa::text::jinja
