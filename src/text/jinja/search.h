// Where a string lies in another, in time linear in both: std::string::find is quadratic for texts made to make it so.
#pragma once

#include <string_view>

namespace nosa::text::jinja {

// The first place from `from` on, or the last one; npos where there is none.
size_t FindFirst(std::string_view text, std::string_view part, size_t from = 0);
size_t FindLast(std::string_view text, std::string_view part);

}  // namespace nosa::text::jinja
