#include "schema/config_fields.h"

#include <cmath>

namespace nosa::schema::internal {

std::string Shown(const io::Json& value) {
  constexpr size_t kMost = 60;
  if (value.is_structured() && value.size() > kMost) return value.is_array() ? "a long list" : "a large object";
  std::string text = io::DumpJson(value);
  if (text.size() > kMost) text = text.substr(0, kMost) + "...";
  return text;
}

Result<Fields> Fields::Of(const io::Json& object, std::string where) {
  if (!object.is_object()) return InvalidArgument("{}: expected a JSON object, found {}", where, Shown(object));
  return Fields(object, std::move(where));
}

bool Fields::Has(std::string_view key) const { return !At(key).is_null(); }

const io::Json& Fields::At(std::string_view key) const {
  static const io::Json kNull;
  const auto it = object_->find(std::string(key));
  return it == object_->end() ? kNull : *it;
}

Status Fields::Require(std::string_view key) const {
  if (Has(key)) return Status::Ok();
  return InvalidArgument("{}: expected the field {}, found none", where_, key);
}

Result<int64_t> Fields::Int(std::string_view key, int64_t min, int64_t max) const {
  NOSA_RETURN_IF_ERROR(Require(key));
  return IntOr(key, 0, min, max);
}

Result<int64_t> Fields::IntOr(std::string_view key, int64_t fallback, int64_t min, int64_t max) const {
  auto value = io::GetInt(*object_, key, fallback);
  if (!value.ok()) return value.status().WithContext(where_);
  if (*value < min || *value > max) {
    return InvalidArgument("{}: expected {} from {} to {}, found {}", where_, key, min, max, *value);
  }
  return *value;
}

Result<double> Fields::Number(std::string_view key, double min, double max) const {
  NOSA_RETURN_IF_ERROR(Require(key));
  return NumberOr(key, 0.0, min, max);
}

Result<double> Fields::NumberOr(std::string_view key, double fallback, double min, double max) const {
  auto value = io::GetNumber(*object_, key, fallback);
  if (!value.ok()) return value.status().WithContext(where_);
  // Written so that NaN fails too.
  if (!(*value >= min && *value <= max)) {
    return InvalidArgument("{}: expected {} from {} to {}, found {}", where_, key, min, max, *value);
  }
  return *value;
}

Result<bool> Fields::BoolOr(std::string_view key, bool fallback) const {
  auto value = io::GetBool(*object_, key, fallback);
  if (!value.ok()) return value.status().WithContext(where_);
  return *value;
}

Result<std::string> Fields::StringOr(std::string_view key, std::string_view fallback) const {
  auto value = io::GetString(*object_, key, fallback);
  if (!value.ok()) return value.status().WithContext(where_);
  return std::move(value).value();
}

}  // namespace nosa::schema::internal
