#include "server/chat_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "server/fields.h"

namespace nosa::server {
namespace {

using io::OrderedJson;
using MaybeError = std::optional<ApiError>;

// Text parts as one text: that is what templates are written for.
MaybeError ReadContent(const std::string& place, const OrderedJson& content, std::string* text) {
  if (content.is_string()) {
    *text = content.get<std::string>();
    return std::nullopt;
  }
  if (!content.is_array()) return WrongType(place, "a string or an array of parts", content);
  for (size_t i = 0; i < content.size(); ++i) {
    const std::string part_place = fmt::format("{}[{}]", place, i);
    const OrderedJson& part = content[i];
    if (!part.is_object()) return WrongType(part_place, "an object", part);
    std::string type, piece;
    if (auto error = GetText(part_place, part, "type", &type)) return error;
    if (type != "text")
      return BadField(part_place + ".type",
                      fmt::format("Invalid value: '{}'. Supported values are: 'text'.", type.substr(0, 64)),
                      "invalid_value");
    if (Find(part, "text") == nullptr) return Missing(part_place + ".text");
    if (auto error = GetText(part_place, part, "text", &piece)) return error;
    *text += piece;
  }
  return std::nullopt;
}

// An earlier call of the model. Templates write the arguments themselves: they get them as JSON, not as its text.
MaybeError ReadCalls(const std::string& place, const OrderedJson& calls, OrderedJson* out) {
  if (!calls.is_array()) return WrongType(place, "an array", calls);
  *out = OrderedJson::array();
  for (size_t i = 0; i < calls.size(); ++i) {
    const std::string inner = fmt::format("{}[{}]", place, i);
    if (auto error = CheckKnown(inner, calls[i], {"id", "type", "function", "index"})) return error;
    const OrderedJson* function = Find(calls[i], "function");
    if (function == nullptr) return Missing(inner + ".function");
    if (auto error = CheckKnown(inner + ".function", *function, {"name", "arguments"})) return error;
    OrderedJson call;
    std::string id, name, arguments = "{}";
    if (auto error = GetText(inner, calls[i], "id", &id)) return error;
    if (auto error = GetText(inner + ".function", *function, "name", &name)) return error;
    if (name.empty()) return Missing(inner + ".function.name");
    if (auto error = GetText(inner + ".function", *function, "arguments", &arguments)) return error;
    call["id"] = id;
    call["type"] = "function";
    call["function"]["name"] = name;
    Result<OrderedJson> parsed = io::ParseOrderedJson(arguments.empty() ? "{}" : arguments, inner);
    if (!parsed.ok() || !parsed->is_object())
      return BadField(inner + ".function.arguments",
                      fmt::format("Invalid '{}.function.arguments': expected the text of a JSON object.", inner),
                      "invalid_value");
    call["function"]["arguments"] = *std::move(parsed);
    out->push_back(std::move(call));
  }
  return std::nullopt;
}

MaybeError ReadMessage(const std::string& place, const OrderedJson& json, OrderedJson* message) {
  if (auto error =
          CheckKnown(place, json, {"role", "content", "name", "tool_calls", "tool_call_id", "refusal", "annotations"}))
    return error;
  std::string role;
  if (auto error = GetText(place, json, "role", &role)) return error;
  if (role.empty()) return Missing(place + ".role");
  if (role == "developer") role = "system";  // its newer name, which templates do not know
  constexpr std::array<std::string_view, 4> kRoles = {"system", "user", "assistant", "tool"};
  if (std::find(kRoles.begin(), kRoles.end(), role) == kRoles.end())
    return BadField(place + ".role",
                    fmt::format("Invalid value: '{}'. Supported values are: 'system', 'assistant', 'user', 'tool', and "
                                "'developer'.",
                                role.substr(0, 64)),
                    "invalid_value");
  (*message)["role"] = role;
  const OrderedJson* calls = Find(json, "tool_calls");
  if (calls != nullptr && role != "assistant")
    return BadField(place + ".tool_calls", fmt::format("Invalid '{}.tool_calls': only an assistant calls.", place),
                    "invalid_value");
  std::string text;
  if (const OrderedJson* content = Find(json, "content")) {
    if (auto error = ReadContent(place + ".content", *content, &text)) return error;
  } else if (calls == nullptr) {
    return Missing(place + ".content");
  }
  (*message)["content"] = text;
  for (const char* name : {"name", "tool_call_id"}) {
    std::string value;
    if (auto error = GetText(place, json, name, &value)) return error;
    if (!value.empty()) (*message)[name] = value;
  }
  if (role == "tool" && !message->contains("tool_call_id")) return Missing(place + ".tool_call_id");
  if (calls != nullptr) return ReadCalls(place + ".tool_calls", *calls, &(*message)["tool_calls"]);
  return std::nullopt;
}

}  // namespace

MaybeError RenderChat(const OrderedJson& body, const OrderedJson& tools, const ChatFormat& format,
                      std::string* prompt) {
  OrderedJson context;
  if (const OrderedJson* more = Find(body, "chat_template_kwargs")) context = *more;
  const OrderedJson& messages = *Find(body, "messages");
  OrderedJson read = OrderedJson::array();
  for (size_t i = 0; i < messages.size(); ++i) {
    if (auto error = ReadMessage(fmt::format("messages[{}]", i), messages[i], &read.emplace_back())) return error;
  }
  context["messages"] = std::move(read);
  context["tools"] = tools;
  Result<std::string> rendered = format.Render(std::move(context));
  if (!rendered.ok()) {
    return BadField("messages",
                    fmt::format("The chat template does not take these messages: {}", rendered.status().message()),
                    "invalid_value");
  }
  *prompt = *std::move(rendered);
  return std::nullopt;
}

MaybeError ParseChatRequest(const OrderedJson& body, const text::Tokenizer& tokenizer, const ChatFormat& format,
                            const RequestLimits& limits, GrammarCache* grammars, ChatRequest* request) {
  if (auto error = CheckFields(BodyKind::kChat, body)) return error;
  GenerationParams& params = request->params;
  if (auto error = ParseGenerationParams(BodyKind::kChat, body, grammars, &params)) return error;
  if (params.choices > limits.most_choices)
    return BadField("n", fmt::format("Invalid 'n': at most {} answers are given at once.", limits.most_choices),
                    "invalid_value");
  if (auto error = ParseTools(body, format, &request->tools)) return error;
  const bool offered = request->tools.choice.kind != ToolChoice::Kind::kNone;
  std::string prompt;
  if (auto error = RenderChat(body, offered ? request->tools.for_template : OrderedJson(), format, &prompt))
    return error;
  if (request->tools.choice.kind == ToolChoice::Kind::kForced) {
    if (params.request.grammar != nullptr)
      return BadField("response_format", "Invalid 'response_format': an answer that must be a call has no other form.",
                      "invalid_value");
    if (params.request.ignore_eos)
      return BadField("ignore_eos", "Invalid 'ignore_eos': an answer that must be a call ends where that ends.",
                      "invalid_value");
    auto grammar = CallGrammar(request->tools, format.arguments_name(), grammars);
    if (!grammar.ok())
      return BadField("tools", fmt::format("Invalid parameters of a function: {}", grammar.status().message()),
                      "invalid_json_schema");
    params.request.grammar = *std::move(grammar);
    // The answer is the call's JSON alone; the tag before it has already been said.
    if (format.tags_calls()) prompt += fmt::format("{}\n", kCallBegin);
  }
  if (!format.stop().empty()) params.request.stop.emplace_back(format.stop());
  request->prompt = format.Encode(tokenizer, prompt);
  if (request->prompt.empty())
    return BadField("messages", "Invalid 'messages': they make an empty prompt.", "invalid_value");
  return std::nullopt;
}

}  // namespace nosa::server
