#include "io/json.h"

#include <limits>
#include <new>
#include <optional>
#include <set>
#include <vector>

#include "io/file.h"
#include "io/json_strict.h"

namespace nosa::io {
namespace {

constexpr int kMaxDepth = 256;

// Position of the first bracket that opens a level too many. Exact up to the first syntax error, and the
// parser stops there. (The parser itself does not recurse; copying and printing its result does.)
std::optional<size_t> FindTooDeep(std::string_view text) {
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\') {
        ++i;
      } else if (c == '"') {
        in_string = false;
      }
    } else if (c == '"') {
      in_string = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kMaxDepth) return i;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return std::nullopt;
}

// The library's sentence without its "[json.exception.parse_error.101] ".
std::string_view Explain(const Json::exception& error) {
  std::string_view text = error.what();
  const size_t end = text.find("] ");
  return text.starts_with('[') && end != std::string_view::npos ? text.substr(end + 2) : text;
}

// Runs the parser and turns what it throws into a Status.
template <typename AnyJson = Json>
Result<AnyJson> Parse(std::string_view text, std::string_view what,
                      const typename AnyJson::parser_callback_t& callback) {
  if (const std::optional<size_t> place = FindTooDeep(text)) {
    return InvalidArgument("{} is nested more than {} levels deep at byte {}", what, kMaxDepth, *place);
  }
  try {
    return AnyJson::parse(text, callback);
  } catch (const Json::exception& error) {
    return InvalidArgument("{} is not valid JSON: {}", what, Explain(error));
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory for the JSON of {} ({} bytes)", what, text.size());
  }
}

std::string Found(const Json& value) {
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  std::string text = DumpJson(value);
  constexpr size_t kMaxShown = 60;  // bytes; long strings say no more in a message
  if (text.size() > kMaxShown) text = text.substr(0, kMaxShown) + "...";
  return text;
}

Status WrongType(std::string_view key, std::string_view expected, const Json& found) {
  return InvalidArgument("field \"{}\": expected {}, found {}", key, expected, Found(found));
}

// The field's value, nullptr when absent or null.
Result<const Json*> Find(const Json& object, std::string_view key) {
  if (!object.is_object()) {
    return InvalidArgument("expected an object with the field \"{}\", found {}", key, Found(object));
  }
  const auto it = object.find(key);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

template <typename AnyJson>
std::string Dump(const AnyJson& json) {
  return json.dump(-1, ' ', /*ensure_ascii=*/false, AnyJson::error_handler_t::replace);
}

}  // namespace

Result<Json> ParseJson(std::string_view text, std::string_view what) { return Parse(text, what, nullptr); }

Result<OrderedJson> ParseOrderedJson(std::string_view text, std::string_view what) {
  return Parse<OrderedJson>(text, what, nullptr);
}

Result<Json> internal::ParseJsonStrict(std::string_view text, std::string_view what) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  std::optional<std::string> twice;
  Result<Json> json = Parse(text, what, [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !twice) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) twice = key;
    }
    return true;
  });
  if (json.ok() && twice) return InvalidArgument("{} has the key {} twice", what, Found(Json(*twice)));
  return json;
}

Result<Json> ReadJsonFile(const std::filesystem::path& path) {
  NOSA_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  return ParseJson(text, path.string());
}

std::string DumpJson(const Json& json) { return Dump(json); }
std::string DumpJson(const OrderedJson& json) { return Dump(json); }

Result<int64_t> GetInt(const Json& object, std::string_view key, int64_t fallback) {
  NOSA_ASSIGN_OR_RETURN(const Json* value, Find(object, key));
  if (value == nullptr) return fallback;
  if (!value->is_number_integer()) return WrongType(key, "an integer", *value);
  constexpr int64_t kMax = std::numeric_limits<int64_t>::max();
  if (value->is_number_unsigned() && value->get<uint64_t>() > static_cast<uint64_t>(kMax)) {
    return WrongType(key, fmt::format("an integer up to {}", kMax), *value);
  }
  return value->get<int64_t>();
}

Result<double> GetNumber(const Json& object, std::string_view key, double fallback) {
  NOSA_ASSIGN_OR_RETURN(const Json* value, Find(object, key));
  if (value == nullptr) return fallback;
  if (!value->is_number()) return WrongType(key, "a number", *value);
  return value->get<double>();
}

Result<bool> GetBool(const Json& object, std::string_view key, bool fallback) {
  NOSA_ASSIGN_OR_RETURN(const Json* value, Find(object, key));
  if (value == nullptr) return fallback;
  if (!value->is_boolean()) return WrongType(key, "true or false", *value);
  return value->get<bool>();
}

Result<std::string> GetString(const Json& object, std::string_view key, std::string_view fallback) {
  NOSA_ASSIGN_OR_RETURN(const Json* value, Find(object, key));
  if (value == nullptr) return std::string(fallback);
  if (!value->is_string()) return WrongType(key, "a string", *value);
  return value->get<std::string>();
}

}  // namespace nosa::io
