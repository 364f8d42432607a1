// Properties of characters. With normalizer.cc, the only place that knows ICU.
#pragma once

namespace nosa::text {

// Letters, marks, decimal digits, connectors and joiners: \w of UTS #18, which is what the reference uses
// to tell whether an added token stands alone.
bool IsWordCharacter(char32_t c);
bool IsWhitespace(char32_t c);  // the property White_Space
bool IsNumeric(char32_t c);     // categories Nd, Nl, No

}  // namespace nosa::text
