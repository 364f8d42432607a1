// Tokens to a tree.
#pragma once

#include <string_view>

#include "text/jinja/ast.h"

namespace nosa::text::jinja {

// Nesting of statements and expressions, each; also the length of a chain such as a.b.c or 1+2+3.
inline constexpr int kMaxParseDepth = 150;

// `source` is well-formed UTF-8. Throws TemplateError with a line.
Body ParseTemplate(std::string_view source);

}  // namespace nosa::text::jinja
