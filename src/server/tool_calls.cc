#include "server/tool_calls.h"

#include <fmt/format.h>

#include <algorithm>

#include "server/fields.h"

namespace nosa::server {
namespace {

using io::OrderedJson;
using MaybeError = std::optional<ApiError>;

bool GoodName(std::string_view name) {
  const auto good = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-';
  };
  return !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), good);
}

MaybeError ParseTool(const std::string& place, const OrderedJson& json, Tool* tool) {
  if (auto error = CheckKnown(place, json, {"type", "function"})) return error;
  std::string type;
  if (auto error = GetText(place, json, "type", &type)) return error;
  if (type != "function")
    return BadField(place + ".type",
                    fmt::format("Invalid value: '{}'. Supported values are: 'function'.", type.substr(0, 64)),
                    "invalid_value");
  const OrderedJson* function = Find(json, "function");
  if (function == nullptr) return Missing(place + ".function");
  const std::string inner = place + ".function";
  if (auto error = CheckKnown(inner, *function, {"name", "description", "parameters", "strict"})) return error;
  if (auto error = GetText(inner, *function, "name", &tool->name)) return error;
  if (!GoodName(tool->name))
    return BadField(inner + ".name",
                    fmt::format("Invalid '{}.name': expected 1 to 64 of a-z, A-Z, 0-9, _ and -.", inner),
                    "invalid_value");
  if (const OrderedJson* parameters = Find(*function, "parameters")) {
    if (!parameters->is_object()) return WrongType(inner + ".parameters", "an object", *parameters);
    tool->parameters = *parameters;
  }
  return std::nullopt;
}

MaybeError ParseChoice(const OrderedJson& json, ToolRequest* request) {
  using Kind = ToolChoice::Kind;
  if (json.is_string()) {
    const auto& word = json.get_ref<const std::string&>();
    if (word == "none") return request->choice.kind = Kind::kNone, std::nullopt;
    if (word == "auto") return request->choice.kind = Kind::kAuto, std::nullopt;
    if (word == "required") return request->choice.kind = Kind::kForced, std::nullopt;
    return BadField(
        "tool_choice",
        fmt::format("Invalid value: '{}'. Supported values are: 'none', 'auto', and 'required'.", word.substr(0, 64)),
        "invalid_value");
  }
  if (auto error = CheckKnown("tool_choice", json, {"type", "function"})) return error;
  const OrderedJson* function = Find(json, "function");
  if (function == nullptr) return Missing("tool_choice.function");
  if (auto error = CheckKnown("tool_choice.function", *function, {"name"})) return error;
  request->choice.kind = Kind::kForced;
  if (auto error = GetText("tool_choice.function", *function, "name", &request->choice.function)) return error;
  if (!Offers(*request, request->choice.function))
    return BadField(
        "tool_choice.function.name",
        fmt::format("Tool choice '{}' not found in 'tools' parameter.", request->choice.function.substr(0, 64)),
        "invalid_value");
  return std::nullopt;
}

// A schema moved to `place` of a larger one: references to its own root now lead there.
void MoveReferences(OrderedJson* schema, const std::string& place) {
  if (schema->is_array()) {
    for (OrderedJson& part : *schema) MoveReferences(&part, place);
  }
  if (!schema->is_object()) return;
  for (auto& [key, value] : schema->items()) {
    if (key == "$ref" && value.is_string()) {
      const auto reference = value.get<std::string>();
      if (reference == "#" || reference.starts_with("#/")) value = place + reference.substr(1);
    } else if (key != "enum" && key != "const") {
      MoveReferences(&value, place);
    }
  }
}

}  // namespace

bool Offers(const ToolRequest& request, std::string_view name) {
  return std::any_of(request.tools.begin(), request.tools.end(), [&](const Tool& t) { return t.name == name; });
}

MaybeError ParseTools(const OrderedJson& body, const ChatFormat& format, ToolRequest* request) {
  const OrderedJson* tools = Find(body, "tools");
  const OrderedJson* choice = Find(body, "tool_choice");
  if (tools == nullptr || tools->empty()) {
    if (choice != nullptr && *choice != "none")
      return BadField("tool_choice", "'tool_choice' is only allowed when 'tools' are specified.", "invalid_value");
    return std::nullopt;
  }
  if (!format.takes_tools())
    return BadField("tools", "This model takes no tools: its chat template does not mention them.",
                    "unsupported_parameter");
  for (size_t i = 0; i < tools->size(); ++i) {
    Tool tool;
    if (auto error = ParseTool(fmt::format("tools[{}]", i), (*tools)[i], &tool)) return error;
    if (Offers(*request, tool.name))
      return BadField(fmt::format("tools[{}].function.name", i),
                      fmt::format("Invalid 'tools': two are named '{}'.", tool.name), "invalid_value");
    request->tools.push_back(std::move(tool));
  }
  request->for_template = *tools;
  request->choice.kind = ToolChoice::Kind::kAuto;
  if (choice != nullptr) {
    if (auto error = ParseChoice(*choice, request)) return error;
  }
  if (const OrderedJson* parallel = Find(body, "parallel_tool_calls")) request->parallel = parallel->get<bool>();
  return std::nullopt;
}

Result<std::shared_ptr<const text::Grammar>> CallGrammar(const ToolRequest& request, std::string_view arguments_name,
                                                         GrammarCache* grammars) {
  OrderedJson schema, any = OrderedJson::array();
  for (const Tool& tool : request.tools) {
    if (!request.choice.function.empty() && request.choice.function != tool.name) continue;
    OrderedJson arguments = tool.parameters;
    if (arguments.is_null()) {  // it takes none
      arguments = {{"type", "object"}, {"properties", OrderedJson::object()}, {"additionalProperties", false}};
    } else {
      const std::string key = fmt::format("function_{}", any.size());
      MoveReferences(&arguments, "#/$defs/" + key);
      schema["$defs"][key] = std::move(arguments);
      arguments = {{"$ref", "#/$defs/" + key}};
    }
    OrderedJson call;
    call["type"] = "object";
    call["properties"]["name"]["const"] = tool.name;
    call["properties"][std::string(arguments_name)] = std::move(arguments);
    call["required"] = {"name", arguments_name};
    call["additionalProperties"] = false;
    any.push_back(std::move(call));
  }
  schema["anyOf"] = std::move(any);
  return grammars->Get(GrammarCache::Form::kJsonSchema, io::DumpJson(schema));
}

}  // namespace nosa::server
