// Regular expressions of JSON Schema's "pattern" as the inside of JSON strings. Private to the text room.
#pragma once

#include <string_view>

#include "text/json_rules.h"

namespace nosa::text {

// The subset of ECMA-262 that docs/structured-output.md lists. As the standard says, the expression may match anywhere
// in the string unless it is anchored. kInvalidArgument names the place in bytes. Characters are written as themselves
// where JSON allows it.
Result<ExprPtr> PatternExpr(std::string_view pattern, JsonRules* json);

// The strings of a "format", without their quotes; null for one that is not known.
ExprPtr FormatExpr(std::string_view format, JsonRules* json);

}  // namespace nosa::text
