// allOf of objects as one object, and oneOf whose parts cannot hold at once.
#include <algorithm>
#include <set>

#include "text/json_schema.h"

namespace nosa::text {
namespace {

constexpr int kMostNested = 32;  // references and allOf inside each other, which may go in circles

using Json = io::OrderedJson;

// The types a value of this schema may have; empty: not known. "number" covers integers.
std::set<std::string> Types(const Json& schema) {
  std::set<std::string> types;
  if (!schema.is_object() || schema.value("nullable", Json()) == true) return types;
  const auto add = [&](const Json& value) { types.insert(value.is_number() ? "number" : value.type_name()); };
  if (schema.contains("const")) {
    add(schema["const"]);
  } else if (schema.contains("enum") && schema["enum"].is_array()) {
    for (const Json& value : schema["enum"]) add(value);
  } else if (schema.contains("type")) {
    const Json list = schema["type"].is_array() ? schema["type"] : Json::array({schema["type"]});
    for (const Json& type : list) {
      if (type.is_string()) types.insert(type == "integer" ? "number" : type.get<std::string>());
    }
  }
  return types;
}

// The values of const or enum; empty: not known.
std::vector<Json> Values(const Json& schema) {
  if (!schema.is_object() || schema.value("nullable", Json()) == true) return {};
  if (schema.contains("const")) return {schema["const"]};
  if (schema.contains("enum") && schema["enum"].is_array()) return {schema["enum"].begin(), schema["enum"].end()};
  return {};
}

bool Apart(const std::vector<Json>& a, const std::vector<Json>& b) {
  if (a.empty() || b.empty()) return false;
  return std::none_of(a.begin(), a.end(), [&](const Json& x) { return std::find(b.begin(), b.end(), x) != b.end(); });
}

bool Requires(const Json& schema, const std::string& name) {
  if (!schema.contains("required") || !schema["required"].is_array()) return false;
  return std::find(schema["required"].begin(), schema["required"].end(), Json(name)) != schema["required"].end();
}

// No value satisfies both.
bool Apart(const Json& a, const Json& b) {
  const std::set<std::string> x = Types(a), y = Types(b);
  const bool common = std::any_of(x.begin(), x.end(), [&](const std::string& type) { return y.count(type) > 0; });
  if (!x.empty() && !y.empty() && !common) return true;
  if (Apart(Values(a), Values(b))) return true;
  // A property that both require, with other values in each.
  if (x != std::set<std::string>{"object"} || y != x) return false;
  if (!a.contains("properties") || !a["properties"].is_object()) return false;
  if (!b.contains("properties") || !b["properties"].is_object()) return false;
  for (const auto& [name, value] : a["properties"].items()) {
    const auto other = b["properties"].find(name);
    if (other == b["properties"].end() || !Requires(a, name) || !Requires(b, name)) continue;
    if (Apart(Values(value), Values(*other))) return true;
  }
  return false;
}

}  // namespace

// The schema that a chain of references leads to.
Result<const SchemaCompiler::Schema*> SchemaCompiler::Behind(const Schema& schema, const std::string& place) const {
  const Schema* at = &schema;
  for (int i = 0; i < kMostNested && at->is_object() && at->contains("$ref"); ++i) {
    NOSA_RETURN_IF_ERROR(CheckKeywords(*at, place, {"$ref"}));
    NOSA_ASSIGN_OR_RETURN(at, Resolve((*at)["$ref"], place));
  }
  return at;
}

Status SchemaCompiler::CheckApart(const Schema& choices, const std::string& place) const {
  for (size_t i = 0; i < choices.size(); ++i) {
    NOSA_ASSIGN_OR_RETURN(const Schema* a, Behind(choices[i], Below(place, std::to_string(i))));
    for (size_t j = 0; j < i; ++j) {
      NOSA_ASSIGN_OR_RETURN(const Schema* b, Behind(choices[j], Below(place, std::to_string(j))));
      if (!Apart(*a, *b))
        return SchemaError(place,
                           fmt::format("a value may satisfy both {} and {}, which cannot be ruled out; use anyOf, "
                                       "or different types or constants",
                                       j, i));
    }
  }
  return Status::Ok();
}

Status SchemaCompiler::MergeInto(Schema* all, const Schema& part, const std::string& place, int nested) const {
  if (nested > kMostNested) return SchemaError(place, "allOf and references go too deep");
  NOSA_ASSIGN_OR_RETURN(const Schema* target, Behind(part, place));
  if (!target->is_object()) return SchemaError(place, "expected a schema of objects");
  NOSA_RETURN_IF_ERROR(CheckKeywords(*target, place, {"allOf", "type", "properties", "required"}));
  if (target->contains("nullable")) return SchemaError(Below(place, "nullable"), "is not supported below allOf");
  if (target->contains("type") && (*target)["type"] != "object")
    return SchemaError(Below(place, "type"), "allOf is supported for objects only");
  if (target->contains("properties")) {
    if (!(*target)["properties"].is_object()) return SchemaError(Below(place, "properties"), "expected an object");
    for (const auto& [name, value] : (*target)["properties"].items()) {
      const auto known = (*all)["properties"].find(name);
      if (known != (*all)["properties"].end() && *known != value)
        return SchemaError(Below(Below(place, "properties"), name), "another part of allOf has other words for it");
      (*all)["properties"][name] = value;
    }
  }
  if (target->contains("required")) {
    if (!(*target)["required"].is_array()) return SchemaError(Below(place, "required"), "expected a list of names");
    for (const Schema& name : (*target)["required"]) (*all)["required"].push_back(name);
  }
  if (!target->contains("allOf")) return Status::Ok();
  if (!(*target)["allOf"].is_array()) return SchemaError(Below(place, "allOf"), "expected a list of schemas");
  for (size_t i = 0; i < (*target)["allOf"].size(); ++i) {
    const std::string below = Below(Below(place, "allOf"), std::to_string(i));
    NOSA_RETURN_IF_ERROR(MergeInto(all, (*target)["allOf"][i], below, nested + 1));
  }
  return Status::Ok();
}

Result<ExprPtr> SchemaCompiler::Merged(const Schema& schema, const std::string& place) {
  const Schema& parts = schema["allOf"];
  const std::string below = Below(place, "allOf");
  if (!parts.is_array() || parts.empty()) return SchemaError(below, "expected a list of schemas");
  // One part alone says what any schema may say.
  if (parts.size() == 1 && CheckKeywords(schema, place, {"allOf"}).ok()) return Any(parts[0], Below(below, "0"));
  Schema all = {{"type", "object"}, {"properties", Schema::object()}, {"required", Schema::array()}};
  Schema own = schema;
  own.erase("nullable");  // which Any sees to
  NOSA_RETURN_IF_ERROR(MergeInto(&all, own, place, 0));
  return Object(all, place);
}

}  // namespace nosa::text
