// "Did you mean": private to the io room.
#pragma once

#include <span>
#include <string>
#include <string_view>

namespace nosa::io::internal {

// The name with the fewest insertions, deletions and replacements from `wanted`, the first of several; empty
// when there are no names. Looks at the first 200 bytes of each. O(names * 200^2) at worst: for error messages.
std::string NearestName(std::string_view wanted, std::span<const std::string> names);

}  // namespace nosa::io::internal
