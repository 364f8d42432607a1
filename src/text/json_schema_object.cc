#include <algorithm>

#include "text/json_schema.h"

namespace nosa::text {
namespace {

// Of names that others are kept apart from; bounds recursion.
constexpr size_t kLongestName = 1000;

}  // namespace

// What properties without a schema of their own may hold; null: there are none of them.
Result<ExprPtr> SchemaCompiler::Others(const Schema& schema, const std::string& place) {
  const auto others = schema.find("additionalProperties");
  if (others == schema.end()) return schema.contains("properties") ? nullptr : json_.Value();
  if (others->is_boolean() && !others->get<bool>()) return ExprPtr();
  return Any(*others, Below(place, "additionalProperties"));
}

// Marks those of `all`; a required name without a schema joins at the end, with `others`.
Status SchemaCompiler::ReadRequired(const Schema& schema, const std::string& place, ExprPtr others,
                                    std::vector<Property>* all) {
  if (!schema.contains("required")) return Status::Ok();
  const std::string below = Below(place, "required");
  if (!schema["required"].is_array()) return SchemaError(below, "expected a list of names");
  if (others == nullptr && !schema.contains("additionalProperties")) others = json_.Value();
  std::map<std::string, size_t> places;
  for (size_t i = 0; i < all->size(); ++i) places[(*all)[i].name] = i;
  for (const Schema& name : schema["required"]) {
    if (!name.is_string()) return SchemaError(below, "expected a list of names");
    const auto [at, added] = places.try_emplace(name.get<std::string>(), all->size());
    if (added) {
      if (others == nullptr)
        return SchemaError(below, fmt::format("{} is no property, and others are not allowed", io::DumpJson(name)));
      all->push_back({name.get<std::string>(), others, true});
    }
    (*all)[at->second].required = true;
  }
  return Status::Ok();
}

Result<ExprPtr> SchemaCompiler::Object(const Schema& schema, const std::string& place) {
  std::vector<Property> properties;
  if (schema.contains("properties")) {
    const std::string below = Below(place, "properties");
    if (!schema["properties"].is_object()) return SchemaError(below, "expected an object");
    for (const auto& [name, value] : schema["properties"].items()) {
      // An optional property that nothing satisfies is one that may not be there.
      if (value.is_boolean() && !value.get<bool>())
        return SchemaError(Below(below, name), "false is not supported here");
      NOSA_ASSIGN_OR_RETURN(ExprPtr expr, Any(value, Below(below, name)));
      properties.push_back({name, std::move(expr), false});
    }
  }
  NOSA_ASSIGN_OR_RETURN(const ExprPtr others, Others(schema, place));
  NOSA_RETURN_IF_ERROR(ReadRequired(schema, place, others, &properties));
  NOSA_ASSIGN_OR_RETURN(const int least, GetCount(schema, "minProperties", 0, place));
  const auto required =
      std::count_if(properties.begin(), properties.end(), [](const Property& p) { return p.required; });
  if (least > required)
    return SchemaError(
        Below(place, "minProperties"),
        fmt::format("is supported up to the number of required properties, {}, found {}", required, least));
  if (others != nullptr &&
      std::any_of(properties.begin(), properties.end(), [](const Property& p) { return p.name.size() > kLongestName; }))
    return SchemaError(place, fmt::format("a property's name is longer than {} bytes", kLongestName));
  return Sequence({Literal("{"), json_.Space(), Members(properties, others, place), Literal("}")});
}

// Two rules for each property on: what may follow when nothing was written yet, and when a comma is due.
ExprPtr SchemaCompiler::Members(const std::vector<Property>& properties, const ExprPtr& others,
                                const std::string& place) {
  ExprPtr first = Literal(""), rest = json_.Space();
  if (others != nullptr) {
    std::vector<std::string> names;
    for (const Property& property : properties) names.push_back(property.name);
    const ExprPtr pair = rules_->AddRef("another property of " + place, json_.Pair(json_.NameOtherThan(names), others));
    rest = rules_->AddRef("the end of " + place, Sequence({Repeat(json_.Next(pair), 0, kUnbounded), rest}));
    first = Optional(Sequence({pair, rest}));
  }
  for (size_t i = properties.size(); i-- > 0;) {
    const Property& property = properties[i];
    const std::string name = Below(place, property.name);
    const ExprPtr written = Literal(io::DumpJson(io::Json(property.name)));
    const ExprPtr pair = rules_->AddRef(name, json_.Pair(written, property.value));
    const ExprPtr begun = Sequence({pair, rest}), next = json_.Next(pair);
    first = property.required ? begun : Choice({begun, first});
    first = rules_->AddRef("the beginning at " + name, first);
    rest = rules_->AddRef("the rest from " + name, Sequence({property.required ? next : Optional(next), rest}));
  }
  return first;
}

}  // namespace nosa::text
