// Fields of a JSON object with their place in every message. Private to this room.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/status.h"
#include "io/json.h"

namespace nosa::schema::internal {

// Borrows the object. Every error is kInvalidArgument and starts with `where` ("config.json: sparse_config").
class Fields {
 public:
  // Fails when `object` is not a JSON object.
  static Result<Fields> Of(const io::Json& object, std::string where);

  // Present and not null.
  bool Has(std::string_view key) const;
  // The value of a present key; null when absent.
  const io::Json& At(std::string_view key) const;

  // An integer in [min, max]; the first form fails when absent or null.
  Result<int64_t> Int(std::string_view key, int64_t min, int64_t max) const;
  Result<int64_t> IntOr(std::string_view key, int64_t fallback, int64_t min, int64_t max) const;
  // A finite number in [min, max].
  Result<double> Number(std::string_view key, double min, double max) const;
  Result<double> NumberOr(std::string_view key, double fallback, double min, double max) const;
  Result<bool> BoolOr(std::string_view key, bool fallback) const;
  Result<std::string> StringOr(std::string_view key, std::string_view fallback) const;

  const std::string& where() const { return where_; }

 private:
  Fields(const io::Json& object, std::string where) : object_(&object), where_(std::move(where)) {}
  Status Require(std::string_view key) const;

  const io::Json* object_;
  std::string where_;
};

// Short JSON for messages: at most 60 bytes of it.
std::string Shown(const io::Json& value);

}  // namespace nosa::schema::internal
