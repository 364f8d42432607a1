// Functions a model may call: what a request says of them, the language a forced call is held to, and the calls found
// in an answer.
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

inline constexpr std::string_view kCallBegin = "<tool_call>", kCallEnd = "</tool_call>";

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

// "tools", "tool_choice" and "parallel_tool_calls" of a body that has passed CheckFields. Refuses tools where the
// template does nothing with them.
std::optional<ApiError> ParseTools(const io::OrderedJson& body, const ChatFormat& format, ToolRequest* request);

// The language of a forced call: {"name": ..., arguments_name: ...}, with the arguments as the function's parameters
// say. Fails as Grammar::FromJsonSchema.
Result<std::shared_ptr<const text::Grammar>> CallGrammar(const ToolRequest& request, std::string_view arguments_name,
                                                         GrammarCache* grammars);

struct ToolCall {
  std::string id;  // "call_" and 24 letters and digits
  std::string name;
  std::string arguments;  // JSON
};

struct ParsedAnswer {
  std::string content;  // all of it without calls, else what stands before the first, without white space at its end
  std::vector<ToolCall> calls;
};
// Finds calls of `tools` in a whole answer: <tool_call>{...}</tool_call> (the last end tag may be missing), or an
// answer that is nothing but {...} or [{...}, ...], with "arguments" or "parameters". What is no such call stays
// content.
ParsedAnswer ParseAnswer(std::string_view answer, const ToolRequest& request);

// How much of an answer that is still being written is content for sure, whatever follows: bytes from its beginning.
// What ParseAnswer makes of the whole answer begins with them.
size_t CertainContent(std::string_view answer);

}  // namespace nosa::server
