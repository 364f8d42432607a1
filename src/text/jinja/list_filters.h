// Filters that take or give lists.
#pragma once

#include <string_view>

#include "text/jinja/library.h"

namespace nosa::text::jinja {

// Null when there is none.
const Native* FindListFilter(std::string_view name);

}  // namespace nosa::text::jinja
