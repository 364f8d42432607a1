// A template's source as tokens, with the whitespace control of trim_blocks and lstrip_blocks applied.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace nosa::text::jinja {

enum class TokenKind {
  kText,        // between the tags
  kBlockBegin,  // {%
  kBlockEnd,
  kPrintBegin,  // {{
  kPrintEnd,
  kName,
  kString,
  kInteger,
  kFloat,
  kOperator,
  kEnd,
};

struct Token {
  TokenKind kind = TokenKind::kEnd;
  std::string text;  // of a string: its characters, escapes resolved; of a number: its digits without "_"
  int line = 1;
};

// `source` is well-formed UTF-8. Throws TemplateError.
std::vector<Token> Tokenize(std::string_view source);

}  // namespace nosa::text::jinja
