// The one table of request fields: what bodies are checked against, and what /openapi.json describes.
#pragma once

#include <limits>
#include <optional>
#include <span>
#include <string_view>

#include "io/json.h"
#include "server/api_error.h"
#include "server/routes.h"

namespace nosa::server {

// JSON types that a field takes, as bits.
namespace json_type {
inline constexpr unsigned kString = 1, kInteger = 2, kNumber = 4, kBoolean = 8, kObject = 16, kArray = 32;
inline constexpr unsigned kRequired = 64;
}  // namespace json_type

struct Field {
  unsigned bodies = 0;  // bit 1 << BodyKind
  std::string_view name;
  unsigned types = 0;  // json_type
  double least = 0, most = 0;
  std::string_view fallback;  // the default, as people write it; "" when there is none to tell
  std::string_view summary;

  static constexpr double kAny = std::numeric_limits<double>::quiet_NaN();
  bool In(BodyKind body) const { return (bodies & (1u << static_cast<unsigned>(body))) != 0; }
};

std::span<const Field> Fields();

// Whether `body` is an object of fields that exist, of the right types and within their limits, with all that are
// required. The first that is not is the error, in OpenAI's words.
std::optional<ApiError> CheckFields(BodyKind kind, const io::OrderedJson& body);

// After CheckFields: the member, nullptr when absent or null.
const io::OrderedJson* Find(const io::OrderedJson& object, std::string_view name);

// Checks of what the table cannot say: members of nested objects. `place`: "messages[2].role".
ApiError WrongType(std::string_view place, std::string_view expected, const io::OrderedJson& found);
ApiError Missing(std::string_view place);
// `object` must be one, and its members that are not null among `known`.
std::optional<ApiError> CheckKnown(std::string_view place, const io::OrderedJson& object,
                                   std::initializer_list<std::string_view> known);
// *value is left as it is when the member is absent or null.
std::optional<ApiError> GetBool(std::string_view place, const io::OrderedJson& object, std::string_view name,
                                bool* value);
std::optional<ApiError> GetText(std::string_view place, const io::OrderedJson& object, std::string_view name,
                                std::string* value);

}  // namespace nosa::server
