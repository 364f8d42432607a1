// Properties of characters. With normalizer.cc, the only place that knows ICU.
#pragma once

#include <string>
#include <string_view>

namespace nosa::text {

// Letters, marks, decimal digits, connectors and joiners: \w of UTS #18, which is what the reference uses
// to tell whether an added token stands alone.
bool IsWordCharacter(char32_t c);
bool IsWhitespace(char32_t c);  // the property White_Space
bool IsNumeric(char32_t c);     // categories Nd, Nl, No

// What Python's repr shows as it is; the space counts, other separators do not.
bool IsPrintable(char32_t c);
// Python's str.isalpha, isdigit, isupper and islower of one character; upper, lower and title case of a text, by the
// rules that need no language. `text` is well-formed UTF-8.
bool IsLetter(char32_t c);
bool IsDecimal(char32_t c);
bool IsUpper(char32_t c);
bool IsLower(char32_t c);
std::string ToUpper(std::string_view text);
std::string ToLower(std::string_view text);
char32_t ToTitle(char32_t c);

}  // namespace nosa::text
