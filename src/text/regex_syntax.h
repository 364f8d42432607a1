// tokenizer.json writes patterns for Oniguruma in its Ruby syntax (doc/RE of that library); this program runs
// PCRE2. The two agree on most of what tokenizers use and differ quietly in the rest.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace nosa::text {

// The same pattern for PCRE2 with UTF, UCP and MULTILINE. Rewrites what means something else there (\s \S \w \W
// \b \B \h \H \v \u), and fails with kUnimplemented, naming the construct, for what it does not translate: named
// references, class intersection and nesting, options other than (?i: and a leading (?i), absent operators and more.
// Syntax errors are left to PCRE2.
Result<std::string> TranslatePattern(std::string_view onig);

}  // namespace nosa::text
