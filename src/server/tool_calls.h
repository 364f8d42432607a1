// Functions a model may call: what a request says of them, and the language a forced call is held to. The calls in an
// answer are found by answer_calls.h.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "io/json.h"
#include "server/api_error.h"
#include "server/chat_format.h"
#include "server/generation_params.h"

namespace nosa::server {

// What stands before a call where the model marks calls.
inline constexpr std::string_view kCallBegin = "<tool_call>";

struct Tool {
  std::string name;
  io::OrderedJson parameters;  // JSON Schema; null: none given
};

struct ToolChoice {
  enum class Kind : uint8_t { kNone, kAuto, kForced };
  Kind kind = Kind::kNone;  // kForced: the answer is one call and nothing else
  std::string function;     // with kForced: the one to call; "": any
};

struct ToolRequest {
  std::vector<Tool> tools;
  io::OrderedJson for_template;  // "tools" as the request wrote them
  ToolChoice choice;
  bool parallel = true;  // more than one call may be given out
};

// Whether a tool of that name is offered.
bool Offers(const ToolRequest& request, std::string_view name);

// "tools", "tool_choice" and "parallel_tool_calls" of a body that has passed CheckFields. Refuses tools where the
// template does nothing with them.
std::optional<ApiError> ParseTools(const io::OrderedJson& body, const ChatFormat& format, ToolRequest* request);

// The language of a forced call: {"name": ..., arguments_name: ...}, with the arguments as the function's parameters
// say. Fails as Grammar::FromJsonSchema.
Result<std::shared_ptr<const text::Grammar>> CallGrammar(const ToolRequest& request, std::string_view arguments_name,
                                                         GrammarCache* grammars);

}  // namespace nosa::server
