// JSON in and out, through nlohmann-json, with errors as values. The only header that names the library.
#pragma once

#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/status.h"

namespace nosa::io {

using Json = nlohmann::json;
// Keeps the order of keys: for output people read.
using OrderedJson = nlohmann::ordered_json;

// kInvalidArgument with the place of the first error; nesting deeper than 256 is an error too (it bounds recursion).
// `what` names the text in messages ("config.json").
Result<Json> ParseJson(std::string_view text, std::string_view what);
// As ParseJson, and keys stay in the order of the text; in time proportional to it, however many keys an object has.
Result<OrderedJson> ParseOrderedJson(std::string_view text, std::string_view what);
Result<Json> ReadJsonFile(const std::filesystem::path& path);

// One line of JSON that never throws: bytes that are not UTF-8 become U+FFFD.
std::string DumpJson(const Json& json);
std::string DumpJson(const OrderedJson& json);

// A typed field of an object: `fallback` when absent or null; kInvalidArgument naming the field, what was
// expected and what was found when the type is wrong or an integer does not fit.
Result<int64_t> GetInt(const Json& object, std::string_view key, int64_t fallback);
Result<double> GetNumber(const Json& object, std::string_view key, double fallback);
Result<bool> GetBool(const Json& object, std::string_view key, bool fallback);
Result<std::string> GetString(const Json& object, std::string_view key, std::string_view fallback);

}  // namespace nosa::io
