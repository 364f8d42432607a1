// What string methods and filters share.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "text/jinja/arguments.h"

namespace nosa::text::jinja {

// Python's strip: `characters` empty-handed means whitespace.
std::string_view Strip(std::string_view text, const std::string* characters, bool left, bool right);
std::string Capitalize(std::string_view text);
// str.title() of Python: every letter behind a non-letter.
std::string Title(std::string_view text);
std::string Replace(std::string_view text, std::string_view from, std::string_view to, int64_t count, Budget& budget);
// str.splitlines().
std::vector<std::string_view> SplitLines(std::string_view text);
// str.format(): {}, {0}, {name}, each with [[fill]align][sign][0][width][.precision][type].
std::string BraceFormat(std::string_view format, const Arguments& arguments, Budget& budget);

}  // namespace nosa::text::jinja
