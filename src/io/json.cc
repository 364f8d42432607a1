#include "io/json.h"

#include <functional>
#include <limits>
#include <map>
#include <new>
#include <optional>
#include <set>
#include <type_traits>
#include <utility>
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

// Runs `parse` on the text and turns what it throws into a Status.
template <typename Function>
auto Parse(std::string_view text, std::string_view what, const Function& parse)
    -> Result<std::invoke_result_t<Function>> {
  if (const std::optional<size_t> place = FindTooDeep(text)) {
    return InvalidArgument("{} is nested more than {} levels deep at byte {}", what, kMaxDepth, *place);
  }
  try {
    return parse();
  } catch (const Json::exception& error) {
    return InvalidArgument("{} is not valid JSON: {}", what, Explain(error));
  } catch (const std::bad_alloc&) {
    return ResourceExhausted("no memory for the JSON of {} ({} bytes)", what, text.size());
  }
}

// Builds what the library's parser reads. The library's own way to an ordered object compares each key with all before
// it, so that a body of a megabyte, with a hundred thousand keys, takes ten seconds.
class OrderedBuilder {
 public:
  OrderedJson Take() { return std::move(root_); }

  // What the parser calls (nlohmann::json_sax); false would stop it.
  bool null() { return Add(nullptr); }
  bool boolean(bool value) { return Add(value); }
  bool number_integer(OrderedJson::number_integer_t value) { return Add(value); }
  bool number_unsigned(OrderedJson::number_unsigned_t value) { return Add(value); }
  bool number_float(OrderedJson::number_float_t value, const std::string&) { return Add(value); }
  bool string(std::string& value) { return Add(std::move(value)); }
  bool binary(OrderedJson::binary_t&) { return false; }  // no text has it
  bool start_object(size_t) { return Open(OrderedJson::object()); }
  bool start_array(size_t) { return Open(OrderedJson::array()); }
  bool key(std::string& key) {
    open_.back().key = std::move(key);
    return true;
  }
  bool end_object() { return Close(); }
  bool end_array() { return Close(); }
  // The same for every kind of exception, which are classes of their own.
  template <typename Exception>
  bool parse_error(size_t, const std::string&, const Exception& error) {
    throw error;
  }

 private:
  struct Container {
    OrderedJson json;
    std::string key;  // of the member that comes next
    // Of a large object: where each key stands. Not hashed, as a stranger can choose keys that collide.
    std::map<std::string, size_t, std::less<>> places;
  };

  bool Open(OrderedJson json) {
    open_.push_back({std::move(json), {}, {}});
    return true;
  }
  bool Close() {
    OrderedJson json = std::move(open_.back().json);
    open_.pop_back();
    return Add(std::move(json));
  }
  bool Add(OrderedJson json) {
    if (open_.empty()) {
      root_ = std::move(json);
    } else if (open_.back().json.is_array()) {
      open_.back().json.push_back(std::move(json));
    } else {
      AddMember(&open_.back(), std::move(json));
    }
    return true;
  }
  // Of a key that comes twice, the last value stands in the first one's place, as the library has it.
  static void AddMember(Container* object, OrderedJson json) {
    auto& members = object->json.get_ref<OrderedJson::object_t&>();
    constexpr size_t kSmall = 16;  // objects of so many are searched as quickly without the table
    if (members.size() < kSmall) {
      members[object->key] = std::move(json);
      return;
    }
    if (object->places.empty()) {
      for (const auto& [key, value] : members) object->places.emplace(key, object->places.size());
    }
    const auto [place, fresh] = object->places.emplace(object->key, members.size());
    if (!fresh) {
      members.begin()[static_cast<std::ptrdiff_t>(place->second)].second = std::move(json);
      return;
    }
    OrderedJson::object_t::Container& list = members;  // whose emplace_back does not look for the key
    list.emplace_back(std::move(object->key), std::move(json));
  }

  OrderedJson root_;
  std::vector<Container> open_;
};

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

Result<Json> ParseJson(std::string_view text, std::string_view what) {
  return Parse(text, what, [&] { return Json::parse(text); });
}

Result<OrderedJson> ParseOrderedJson(std::string_view text, std::string_view what) {
  return Parse(text, what, [&] {
    OrderedBuilder builder;
    OrderedJson::sax_parse(text, &builder);
    return builder.Take();
  });
}

Result<Json> internal::ParseJsonStrict(std::string_view text, std::string_view what) {
  std::vector<std::set<std::string>> keys;  // of the objects that are open
  std::optional<std::string> twice;
  const auto look = [&](int, Json::parse_event_t event, Json& parsed) {
    if (event == Json::parse_event_t::object_start) keys.emplace_back();
    if (event == Json::parse_event_t::object_end) keys.pop_back();
    if (event == Json::parse_event_t::key && !twice) {
      const auto& key = parsed.get_ref<const std::string&>();
      if (!keys.back().insert(key).second) twice = key;
    }
    return true;
  };
  Result<Json> json = Parse(text, what, [&] { return Json::parse(text, look); });
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
