// GET /openapi.json: the tables of routes and fields as OpenAPI 3.1.
#include <fmt/format.h>

#include <cmath>

#include "server/app.h"
#include "server/fields.h"
#include "server/routes.h"

namespace nosa::server {
namespace {

using io::OrderedJson;

OrderedJson TypeSchema(const Field& field, unsigned type) {
  const bool least = !std::isnan(field.least), most = !std::isnan(field.most);
  OrderedJson schema;
  switch (type) {
    case json_type::kString:
      schema["type"] = "string";
      // The limit of a field that takes arrays or objects too is of those.
      if (most && (field.types & (json_type::kArray | json_type::kObject)) == 0)
        schema["maxLength"] = static_cast<int64_t>(field.most);
      break;
    case json_type::kBoolean: schema["type"] = "boolean"; break;
    case json_type::kObject:
      schema["type"] = "object";
      if (most) schema["maxProperties"] = static_cast<int64_t>(field.most);
      break;
    case json_type::kArray:
      schema["type"] = "array";
      if (least) schema["minItems"] = static_cast<int64_t>(field.least);
      if (most) schema["maxItems"] = static_cast<int64_t>(field.most);
      break;
    default:
      schema["type"] = type == json_type::kInteger ? "integer" : "number";
      if (least) schema["minimum"] = field.least;
      if (most) schema["maximum"] = field.most;
      break;
  }
  return schema;
}

OrderedJson FieldSchema(const Field& field) {
  OrderedJson any = OrderedJson::array();
  for (unsigned type = 1; type < json_type::kRequired; type <<= 1) {
    if ((field.types & type) != 0) any.push_back(TypeSchema(field, type));
  }
  if ((field.types & json_type::kRequired) == 0) any.push_back({{"type", "null"}});
  OrderedJson schema;
  if (any.size() == 1) {
    schema = any[0];
  } else {
    schema["anyOf"] = std::move(any);
  }
  schema["description"] = field.summary;
  // A default that is a value of the field; "n" of best_of is another field's name.
  const auto fallback = io::ParseOrderedJson(field.fallback, "default");
  if (fallback.ok()) schema["default"] = *fallback;
  return schema;
}

OrderedJson BodySchema(BodyKind kind) {
  OrderedJson schema = {{"type", "object"}, {"additionalProperties", false}};
  OrderedJson required = OrderedJson::array();
  for (const Field& field : Fields()) {
    if (!field.In(kind)) continue;
    schema["properties"][std::string(field.name)] = FieldSchema(field);
    if ((field.types & json_type::kRequired) != 0) required.push_back(field.name);
  }
  if (!required.empty()) schema["required"] = std::move(required);
  return schema;
}

OrderedJson ErrorSchema() {
  const OrderedJson text = {{"type", "string"}}, maybe = {{"type", {"string", "null"}}};
  OrderedJson error;
  error["type"] = "object";
  error["properties"] = {{"message", text}, {"type", text}, {"param", maybe}, {"code", maybe}};
  error["required"] = {"message", "type", "param", "code"};
  OrderedJson schema;
  schema["type"] = "object";
  schema["properties"]["error"] = std::move(error);
  schema["required"] = OrderedJson::array({"error"});
  return schema;
}

OrderedJson Operation(const Route& route, bool needs_key) {
  OrderedJson operation;
  operation["summary"] = route.summary;
  if (route.takes_tail()) {
    const std::string_view name = route.path.substr(route.stem().size());
    OrderedJson parameter;
    parameter["name"] = name.substr(1, name.size() - 2);
    parameter["in"] = "path";
    parameter["required"] = true;
    parameter["schema"]["type"] = "string";
    operation["parameters"] = OrderedJson::array({std::move(parameter)});
  }
  if (route.body != BodyKind::kNone) {
    operation["requestBody"]["required"] = true;
    operation["requestBody"]["content"]["application/json"]["schema"] = BodySchema(route.body);
  }
  operation["responses"]["200"]["description"] = "as asked for";
  OrderedJson& otherwise = operation["responses"]["default"];
  otherwise["description"] = "why not";
  otherwise["content"]["application/json"]["schema"]["$ref"] = "#/components/schemas/Error";
  if (needs_key && route.access == Access::kKey)
    operation["security"] = OrderedJson::array({{{"key", OrderedJson::array()}}});
  return operation;
}

std::string LowerCase(std::string_view text) {
  std::string lower(text);
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return lower;
}

}  // namespace

HttpReply OpenApi(App& app, const HttpRequest&) {
  OrderedJson json;
  json["openapi"] = "3.1.0";
  json["info"] = {{"title", "nosa"},
                  {"version", "1"},
                  {"description", "OpenAI's API over sparse attention with an offloaded KV cache"}};
  for (const Route& route : Routes())
    json["paths"][std::string(route.path)][LowerCase(route.method)] = Operation(route, app.needs_key);
  json["components"]["schemas"]["Error"] = ErrorSchema();
  if (app.needs_key) json["components"]["securitySchemes"]["key"] = {{"type", "http"}, {"scheme", "bearer"}};
  HttpReply reply = {.body = io::DumpJson(json)};
  return reply;
}

}  // namespace nosa::server
