// The body of POST /v1/chat/completions.
#pragma once

#include <string>
#include <vector>

#include "base/ids.h"
#include "server/chat_format.h"
#include "server/completion_request.h"
#include "server/tool_calls.h"
#include "text/tokenizer.h"

namespace nosa::server {

struct ChatRequest {
  GenerationParams params;
  std::vector<TokenId> prompt;
  ToolRequest tools;
};

// `body`: any JSON.
std::optional<ApiError> ParseChatRequest(const io::OrderedJson& body, const text::Tokenizer& tokenizer,
                                         const ChatFormat& format, const RequestLimits& limits, GrammarCache* grammars,
                                         ChatRequest* request);

// The text of the prompt that the fields "messages" and "chat_template_kwargs" of `body` make, with `tools` (null:
// none). What the template refuses is 400.
std::optional<ApiError> RenderChat(const io::OrderedJson& body, const io::OrderedJson& tools, const ChatFormat& format,
                                   std::string* prompt);

}  // namespace nosa::server
