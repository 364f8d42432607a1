#include "server/fields.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace nosa::server {
namespace {

using io::OrderedJson;

constexpr unsigned BodyBit(BodyKind kind) { return 1u << static_cast<unsigned>(kind); }

constexpr unsigned kChat = BodyBit(BodyKind::kChat), kCompletion = BodyBit(BodyKind::kCompletion),
                   kTokenize = BodyBit(BodyKind::kTokenize), kDetokenize = BodyBit(BodyKind::kDetokenize);

using json_type::kArray, json_type::kBoolean, json_type::kInteger, json_type::kNumber, json_type::kObject,
    json_type::kRequired, json_type::kString;

constexpr double kAny = Field::kAny;

constexpr Field kFields[] = {
#define NOSA_FIELD(bodies, name, types, least, most, fallback, summary) \
  {bodies, name, types, least, most, fallback, summary},
#include "server/fields.def"
#undef NOSA_FIELD
};

const Field* FindField(BodyKind kind, std::string_view name) {
  const auto* field = std::find_if(std::begin(kFields), std::end(kFields),
                                   [&](const Field& f) { return f.name == name && f.In(kind); });
  return field == std::end(kFields) ? nullptr : field;
}

unsigned TypeOf(const OrderedJson& value) {
  if (value.is_string()) return kString;
  if (value.is_boolean()) return kBoolean;
  if (value.is_object()) return kObject;
  if (value.is_array()) return kArray;
  if (value.is_number_integer()) return kInteger | kNumber;
  // 16.0 is an integer that a client wrote as a fraction.
  if (value.is_number_float()) {
    const double number = value.get<double>();
    const bool whole = std::trunc(number) == number && std::abs(number) < 1e15;
    return whole ? kInteger | kNumber : kNumber;
  }
  return 0;
}

std::string TypeNames(unsigned types) {
  std::string names;
  const auto add = [&](unsigned type, std::string_view name) {
    if ((types & type) == 0) return;
    if (!names.empty()) names += " or ";
    names += name;
  };
  add(kString, "a string");
  add(kInteger, "an integer");
  add(kNumber, "a decimal");
  add(kBoolean, "a boolean");
  add(kObject, "an object");
  add(kArray, "an array");
  return names;
}

std::string_view FoundName(const OrderedJson& value) {
  if (value.is_null()) return "null";
  if (value.is_string()) return "a string";
  if (value.is_boolean()) return "a boolean";
  if (value.is_object()) return "an object";
  if (value.is_array()) return "an array";
  return value.is_number_integer() ? "an integer" : "a decimal";
}

std::optional<ApiError> CheckNumber(const Field& field, const OrderedJson& value) {
  const double number = value.get<double>();
  const bool integer = (field.types & kInteger) != 0;
  const std::string_view type = integer ? "integer" : "decimal";
  // JSON has integers of any length; those that no integer type holds came as decimals, or beyond int64.
  if (integer && (number > 9.2e18 || number < -9.2e18))
    return BadField(std::string(field.name),
                    fmt::format("Invalid '{}': the integer does not fit in 64 bits.", field.name), "invalid_value");
  const auto refuse = [&](std::string_view side, std::string_view sign, double limit) {
    return BadField(std::string(field.name),
                    fmt::format("Invalid '{}': {} {} value. Expected a value {} {}, but got {} instead.", field.name,
                                type, side, sign, limit, io::DumpJson(value)),
                    fmt::format("{}_{}_value", type, side == "above maximum" ? "above_max" : "below_min"));
  };
  // Written so that NaN, which no JSON has, would fail too.
  if (!std::isnan(field.most) && !(number <= field.most)) return refuse("above maximum", "<=", field.most);
  if (!std::isnan(field.least) && !(number >= field.least)) return refuse("below minimum", ">=", field.least);
  return std::nullopt;
}

std::optional<ApiError> CheckSize(const Field& field, const OrderedJson& value) {
  const bool text = value.is_string();
  // A field that takes texts or arrays of them limits the arrays; one text is short of any such limit.
  if (text && (field.types & kArray) != 0) return std::nullopt;
  if (text && (field.types & kObject) != 0) return std::nullopt;
  const size_t size = text ? value.get_ref<const std::string&>().size() : value.size();
  const std::string_view what = text ? "string" : value.is_array() ? "array" : "object";
  const std::string_view unit = text ? "bytes" : "elements";
  if (!std::isnan(field.most) && static_cast<double>(size) > field.most)
    return BadField(std::string(field.name),
                    fmt::format("Invalid '{}': {} too long. Expected at most {} {}, but got {} instead.", field.name,
                                what, field.most, unit, size),
                    fmt::format("{}_above_max_length", what));
  if (!std::isnan(field.least) && static_cast<double>(size) < field.least)
    return BadField(std::string(field.name),
                    fmt::format("Invalid '{}': {} too short. Expected at least {} {}, but got {} instead.", field.name,
                                what, field.least, unit, size),
                    fmt::format("{}_below_min_length", what));
  return std::nullopt;
}

}  // namespace

std::span<const Field> Fields() { return kFields; }

ApiError WrongType(std::string_view place, std::string_view expected, const OrderedJson& found) {
  return BadField(
      std::string(place),
      fmt::format("Invalid type for '{}': expected {}, but got {} instead.", place, expected, FoundName(found)),
      "invalid_type");
}

ApiError Missing(std::string_view place) {
  return BadField(std::string(place), fmt::format("Missing required parameter: '{}'.", place),
                  "missing_required_parameter");
}

const OrderedJson* Find(const OrderedJson& object, std::string_view name) {
  const auto it = object.find(name);
  return it == object.end() || it->is_null() ? nullptr : &*it;
}

std::optional<ApiError> CheckFields(BodyKind kind, const OrderedJson& body) {
  if (!body.is_object()) {
    return BadField("", fmt::format("Invalid body: expected a JSON object, but got {} instead.", FoundName(body)),
                    "invalid_type");
  }
  for (const auto& [name, value] : body.items()) {
    const Field* field = FindField(kind, name);
    if (field == nullptr) {
      // The name is the client's: as much of it as a message needs.
      const std::string shown = name.substr(0, 64);
      return BadField(shown, fmt::format("Unrecognized request argument supplied: {}", shown), "unknown_parameter");
    }
    if (value.is_null()) continue;
    if ((TypeOf(value) & field->types) == 0) return WrongType(field->name, TypeNames(field->types & ~kRequired), value);
    if (value.is_boolean()) continue;
    if (auto error = value.is_number() ? CheckNumber(*field, value) : CheckSize(*field, value)) return error;
  }
  for (const Field& field : kFields) {
    if (field.In(kind) && (field.types & kRequired) != 0 && Find(body, field.name) == nullptr)
      return Missing(field.name);
  }
  return std::nullopt;
}

std::optional<ApiError> CheckKnown(std::string_view place, const OrderedJson& object,
                                   std::initializer_list<std::string_view> known) {
  if (!object.is_object()) return WrongType(place, "an object", object);
  for (const auto& [name, value] : object.items()) {
    if (value.is_null() || std::find(known.begin(), known.end(), std::string_view(name)) != known.end()) continue;
    const std::string shown = fmt::format("{}.{}", place, name.substr(0, 64));
    return BadField(shown, fmt::format("Unrecognized request argument supplied: {}", shown), "unknown_parameter");
  }
  return std::nullopt;
}

std::optional<ApiError> GetBool(std::string_view place, const OrderedJson& object, std::string_view name, bool* value) {
  const OrderedJson* found = Find(object, name);
  if (found == nullptr) return std::nullopt;
  if (!found->is_boolean()) return WrongType(fmt::format("{}.{}", place, name), "a boolean", *found);
  *value = found->get<bool>();
  return std::nullopt;
}

std::optional<ApiError> GetText(std::string_view place, const OrderedJson& object, std::string_view name,
                                std::string* value) {
  const OrderedJson* found = Find(object, name);
  if (found == nullptr) return std::nullopt;
  if (!found->is_string()) return WrongType(fmt::format("{}.{}", place, name), "a string", *found);
  *value = found->get<std::string>();
  return std::nullopt;
}

}  // namespace nosa::server
