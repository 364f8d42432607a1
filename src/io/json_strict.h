// JSON from strangers. Private to the io room.
#pragma once

#include <string_view>

#include "io/json.h"

namespace nosa::io::internal {

// As ParseJson, and a key that occurs twice in one object is an error: readers differ in which one they take.
// About twice as slow as ParseJson.
Result<Json> ParseJsonStrict(std::string_view text, std::string_view what);

}  // namespace nosa::io::internal
