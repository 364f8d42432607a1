#include "text/json_schema.h"

#include <algorithm>
#include <set>

#include "text/grammar_compile.h"

namespace nosa::text {
namespace {

constexpr std::string_view kAnnotations[] = {"title",    "description", "default", "examples",    "$comment",
                                             "$schema",  "$id",         "$defs",   "definitions", "deprecated",
                                             "readOnly", "writeOnly",   "nullable"};
constexpr std::string_view kTyped[] = {"type",
                                       "properties",
                                       "required",
                                       "additionalProperties",
                                       "minProperties",
                                       "items",
                                       "prefixItems",
                                       "minItems",
                                       "maxItems",
                                       "uniqueItems",
                                       "minLength",
                                       "maxLength",
                                       "pattern",
                                       "format",
                                       "minimum",
                                       "maximum",
                                       "exclusiveMinimum",
                                       "exclusiveMaximum"};

// The types a schema without "type" is for, by its keywords; all of them when there are none.
std::vector<std::string> ImpliedTypes(const io::OrderedJson& schema) {
  const auto has = [&](std::initializer_list<const char*> keys) {
    return std::any_of(keys.begin(), keys.end(), [&](const char* key) { return schema.contains(key); });
  };
  std::vector<std::string> types;
  if (has({"properties", "required", "additionalProperties", "minProperties"})) types.emplace_back("object");
  if (has({"items", "prefixItems", "minItems", "maxItems", "uniqueItems"})) types.emplace_back("array");
  if (has({"minLength", "maxLength", "pattern", "format"})) types.emplace_back("string");
  if (has({"minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"})) types.emplace_back("number");
  return types;
}

bool HasType(const io::OrderedJson& value, const std::string& type) {
  if (type == "integer") return value.is_number_integer();
  if (type == "number") return value.is_number();
  return type == value.type_name();
}

// "type" as a list; empty when absent.
Result<std::vector<std::string>> TypesOf(const io::OrderedJson& schema, const std::string& place) {
  std::vector<std::string> types;
  if (!schema.contains("type")) return types;
  const io::OrderedJson& type = schema["type"];
  const io::OrderedJson list = type.is_array() ? type : io::OrderedJson::array({type});
  for (const io::OrderedJson& one : list) {
    if (!one.is_string()) return SchemaError(Below(place, "type"), "expected the name of a type, or a list of names");
    types.push_back(one.get<std::string>());
  }
  if (types.empty()) return SchemaError(Below(place, "type"), "the list is empty");
  return types;
}

}  // namespace

Status SchemaError(const std::string& place, std::string_view sentence) {
  return InvalidArgument("at {}: {}", place.empty() ? "#" : place, sentence);
}

std::string Below(const std::string& place, std::string_view step) {
  std::string out = place + "/";
  for (const char c : step) out += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
  return out;
}

Status CheckKeywords(const io::OrderedJson& schema, const std::string& place, std::vector<std::string_view> known) {
  for (const auto& [key, value] : schema.items()) {
    if (std::find(known.begin(), known.end(), key) != known.end()) continue;
    if (std::find(std::begin(kAnnotations), std::end(kAnnotations), key) != std::end(kAnnotations)) continue;
    const bool elsewhere = std::find(std::begin(kTyped), std::end(kTyped), key) != std::end(kTyped);
    return SchemaError(Below(place, key), elsewhere ? fmt::format("is not supported beside \"{}\"", known.front())
                                                    : "this keyword is not supported here");
  }
  return Status::Ok();
}

Result<int> GetCount(const io::OrderedJson& schema, const char* key, int fallback, const std::string& place) {
  if (!schema.contains(key)) return fallback;
  const io::OrderedJson& value = schema[key];
  constexpr int kMost = 1'000'000'000;
  const bool whole = value.is_number() && value.get<double>() >= 0 && value.get<double>() <= kMost &&
                     value.get<double>() == static_cast<int>(value.get<double>());
  if (!whole) return SchemaError(Below(place, key), fmt::format("expected an integer from 0 to {}", kMost));
  return static_cast<int>(value.get<double>());
}

Result<ExprPtr> SchemaCompiler::Compile() {
  NOSA_ASSIGN_OR_RETURN(ExprPtr root, Any(root_, ""));
  while (!waiting_.empty()) {
    const auto [place, schema] = waiting_.back();
    waiting_.pop_back();
    NOSA_ASSIGN_OR_RETURN(ExprPtr body, Any(*schema, place));
    rules_->rules[static_cast<size_t>(references_[place])].body = std::move(body);
  }
  return root;
}

Result<ExprPtr> SchemaCompiler::Any(const Schema& schema, const std::string& place) {
  if (schema.is_boolean()) {
    if (schema.get<bool>()) return json_.Value();
    return SchemaError(place, "no value satisfies the schema false");
  }
  if (!schema.is_object()) return SchemaError(place, "expected a schema: an object, true or false");
  NOSA_ASSIGN_OR_RETURN(ExprPtr value, NotNull(schema, place));
  if (!schema.contains("nullable")) return value;
  if (!schema["nullable"].is_boolean()) return SchemaError(Below(place, "nullable"), "expected true or false");
  return schema["nullable"].get<bool>() ? Choice({std::move(value), json_.Null()}) : value;
}

Result<ExprPtr> SchemaCompiler::NotNull(const Schema& schema, const std::string& place) {
  if (schema.contains("$ref")) return Reference(schema, place);
  if (schema.contains("const")) {
    NOSA_RETURN_IF_ERROR(CheckKeywords(schema, place, {"const", "type"}));
    NOSA_ASSIGN_OR_RETURN(const std::vector<std::string> types, TypesOf(schema, place));
    const bool fits = types.empty() || std::any_of(types.begin(), types.end(),
                                                   [&](const auto& type) { return HasType(schema["const"], type); });
    if (!fits) return SchemaError(Below(place, "const"), "is not of the type that is asked for");
    return json_.Exactly(schema["const"]);
  }
  if (schema.contains("enum")) return Enumeration(schema, place);
  if (schema.contains("allOf")) return Merged(schema, place);
  if (schema.contains("anyOf")) return Alternatives(schema, "anyOf", place);
  if (schema.contains("oneOf")) return Alternatives(schema, "oneOf", place);
  return Typed(schema, place);
}

Result<const SchemaCompiler::Schema*> SchemaCompiler::Resolve(const Schema& reference, const std::string& place) const {
  const std::string at = Below(place, "$ref");
  if (!reference.is_string()) return SchemaError(at, "expected a string");
  const auto& target = reference.get_ref<const std::string&>();
  if (target != "#" && !target.starts_with("#/"))
    return SchemaError(at, fmt::format("only places in this schema, as \"#/$defs/name\", are supported, found {}",
                                       io::DumpJson(reference)));
  // The library's own reading of pointers throws.
  const Schema* found = &root_;
  for (size_t begin = 1; found != nullptr && begin < target.size();) {
    const size_t end = std::min(target.find('/', begin + 1), target.size());
    std::string step;
    for (size_t i = begin + 1; i < end; ++i) {
      const bool escape = target[i] == '~' && i + 1 < end && (target[i + 1] == '0' || target[i + 1] == '1');
      step += escape ? (target[++i] == '0' ? '~' : '/') : target[i];
    }
    begin = end;
    if (found->is_object()) {
      const auto next = found->find(step);
      found = next == found->end() ? nullptr : &*next;
    } else {
      const bool index = found->is_array() && !step.empty() && step.size() < 9 &&
                         step.find_first_not_of("0123456789") == std::string::npos && std::stoul(step) < found->size();
      found = index ? &(*found)[std::stoul(step)] : nullptr;
    }
  }
  if (found == nullptr) return SchemaError(at, fmt::format("{} is not in this schema", io::DumpJson(reference)));
  return found;
}

Result<ExprPtr> SchemaCompiler::Reference(const Schema& schema, const std::string& place) {
  NOSA_RETURN_IF_ERROR(CheckKeywords(schema, place, {"$ref"}));
  NOSA_ASSIGN_OR_RETURN(const Schema* target, Resolve(schema["$ref"], place));
  const std::string pointer = schema["$ref"].get<std::string>().substr(1);
  const auto [at, added] = references_.try_emplace(pointer, -1);
  if (added) {
    at->second = rules_->Add("the schema at " + (pointer.empty() ? "#" : pointer));
    waiting_.emplace_back(pointer, target);
  }
  return RuleRef(at->second);
}

Result<ExprPtr> SchemaCompiler::Enumeration(const Schema& schema, const std::string& place) {
  NOSA_RETURN_IF_ERROR(CheckKeywords(schema, place, {"enum", "type"}));
  const Schema& values = schema["enum"];
  if (!values.is_array()) return SchemaError(Below(place, "enum"), "expected a list");
  NOSA_ASSIGN_OR_RETURN(const std::vector<std::string> types, TypesOf(schema, place));
  std::vector<ExprPtr> choices;
  for (const Schema& value : values) {
    const bool fits = types.empty() ||
                      std::any_of(types.begin(), types.end(), [&](const auto& type) { return HasType(value, type); });
    if (fits) choices.push_back(json_.Exactly(value));
  }
  if (choices.empty()) return SchemaError(Below(place, "enum"), "no value is of the type that is asked for");
  return Choice(std::move(choices));
}

Result<ExprPtr> SchemaCompiler::Alternatives(const Schema& schema, const std::string& keyword,
                                             const std::string& place) {
  NOSA_RETURN_IF_ERROR(CheckKeywords(schema, place, {keyword}));
  const std::string below = Below(place, keyword);
  const Schema& parts = schema[keyword];
  if (!parts.is_array() || parts.empty()) return SchemaError(below, "expected a list of schemas");
  if (keyword == "oneOf") NOSA_RETURN_IF_ERROR(CheckApart(parts, below));
  std::vector<ExprPtr> choices;
  for (size_t i = 0; i < parts.size(); ++i) {
    NOSA_ASSIGN_OR_RETURN(ExprPtr choice, Any(parts[i], Below(below, std::to_string(i))));
    choices.push_back(std::move(choice));
  }
  return Choice(std::move(choices));
}

Result<ExprPtr> SchemaCompiler::Typed(const Schema& schema, const std::string& place) {
  std::vector<std::string_view> known(std::begin(kTyped), std::end(kTyped));
  NOSA_RETURN_IF_ERROR(CheckKeywords(schema, place, known));
  NOSA_ASSIGN_OR_RETURN(std::vector<std::string> types, TypesOf(schema, place));
  if (types.empty()) types = ImpliedTypes(schema);
  if (types.empty()) return json_.Value();
  std::vector<ExprPtr> choices;
  for (const std::string& type : types) {
    NOSA_ASSIGN_OR_RETURN(ExprPtr choice, OfType(type, schema, place));
    choices.push_back(std::move(choice));
  }
  return Choice(std::move(choices));
}

Result<ExprPtr> SchemaCompiler::OfType(const std::string& type, const Schema& schema, const std::string& place) {
  if (type == "object") return Object(schema, place);
  if (type == "array") return Array(schema, place);
  if (type == "string") return String(schema, place);
  if (type == "integer") return Integer(schema, place);
  if (type == "number") return Number(schema, place);
  if (type == "boolean") return json_.Boolean();
  if (type == "null") return json_.Null();
  return SchemaError(Below(place, "type"), fmt::format("expected object, array, string, integer, number, boolean or "
                                                       "null, found {}",
                                                       io::DumpJson(io::Json(type))));
}

Result<std::shared_ptr<const Grammar>> Grammar::FromJsonSchema(std::string_view json, std::string_view what) {
  NOSA_ASSIGN_OR_RETURN(const io::OrderedJson schema, io::ParseOrderedJson(json, what));
  RuleSet rules;
  SchemaCompiler compiler(schema, &rules);
  auto body = compiler.Compile();
  if (!body.ok()) return body.status().WithContext(what);
  const int root = rules.Add("the schema", *std::move(body));
  auto grammar = GrammarCompiler::Compile(rules, root);
  return grammar.ok() ? grammar : grammar.status().WithContext(what);
}

std::shared_ptr<const Grammar> Grammar::AnyJsonObject() {
  RuleSet rules;
  JsonRules json(&rules);
  const ExprPtr object = json.Object();
  return GrammarCompiler::Compile(rules, object->rule).value();
}

}  // namespace nosa::text
