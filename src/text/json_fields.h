// Steps into tokenizer.json whose errors say where they stood. `where` is the place of `object` in the file.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"
#include "io/json.h"

namespace nosa::text {

// Null when `object` is no object, or has no `key`, or a null there.
const io::Json* Find(const io::Json& object, std::string_view key);

// The "type" of one of the file's tagged objects.
Result<std::string> TypeOf(const io::Json& object, std::string_view where);

// An array that must be there.
Result<const io::Json*> ArrayField(const io::Json& object, std::string_view key, std::string_view where);

}  // namespace nosa::text
