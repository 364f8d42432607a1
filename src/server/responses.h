// What completions look like on the wire: whole objects and chunks of streams. Nothing here waits or decides.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "engine/service.h"
#include "io/json.h"
#include "server/answer_calls.h"
#include "text/tokenizer.h"

namespace nosa::server {

// What every object of one request says.
struct ResponseHead {
  std::string id;       // "chatcmpl-..." or "cmpl-..."
  int64_t created = 0;  // Unix seconds
  std::string model;
};

// One choice, whole.
struct Choice {
  int index = 0;
  std::string text;                                // with echo: behind the prompt's
  std::vector<engine::PositionLogprobs> logprobs;  // of text's tokens; empty when none are wanted
  bool wants_logprobs = false;
  engine::FinishReason reason = engine::FinishReason::kNone;
  engine::Usage usage;
};

// Of all choices: a prompt counts once, however many choices it got.
struct UsageSum {
  int64_t prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
};
io::OrderedJson UsageJson(const UsageSum& usage);

// "stop", "length", "tool_calls"; null while it goes on.
io::OrderedJson FinishJson(engine::FinishReason reason, bool called = false);

// {"content": [{token, logprob, bytes, top_logprobs}, ...]}
io::OrderedJson ChatLogprobsJson(std::span<const engine::PositionLogprobs> tokens, const text::Tokenizer& tokenizer);

// Four arrays as long as `tokens`; text_offset in characters (code points) of the choice's text, from *offset on, which
// moves past them.
io::OrderedJson TextLogprobsJson(std::span<const engine::PositionLogprobs> tokens, const text::Tokenizer& tokenizer,
                                 int64_t* offset);

// chat.completion. Calls are looked for when `tools` offers any.
io::OrderedJson ChatJson(const ResponseHead& head, std::span<const Choice> choices, const ToolRequest& tools,
                         const UsageSum& usage, const text::Tokenizer& tokenizer);
// text_completion.
io::OrderedJson TextJson(const ResponseHead& head, std::span<const Choice> choices, const UsageSum& usage,
                         const text::Tokenizer& tokenizer);

// chat.completion.chunk and text_completion of a stream, with one choice that the caller fills in.
io::OrderedJson ChatChunk(const ResponseHead& head, int index, io::OrderedJson delta);
io::OrderedJson TextChunk(const ResponseHead& head, int index, std::string_view text);
// The last chunk of stream_options.include_usage: no choices.
io::OrderedJson UsageChunk(const ResponseHead& head, std::string_view object, const UsageSum& usage);

// "tool_calls" of a message.
io::OrderedJson CallsJson(std::span<const ToolCall> calls);
// "tool_calls" of a delta, with one call: its beginning, and more of its arguments.
io::OrderedJson CallBeginJson(int index, const ToolCall& call);
io::OrderedJson CallArgumentsJson(int index, std::string_view arguments);

// One event of a stream: "data: ...\n\n".
std::string SseEvent(const io::OrderedJson& json);
inline constexpr std::string_view kSseDone = "data: [DONE]\n\n";
// A comment that clients skip: keeps proxies from giving up on a stream that has nothing to say yet.
inline constexpr std::string_view kSseKeepAlive = ": keep-alive\n\n";

// The text of one token by itself. Not well-formed UTF-8 (a part of a character): "bytes:\xe2\x80".
std::string TokenText(std::string_view bytes);

}  // namespace nosa::server
