#include "server/responses.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "text/utf8.h"

namespace nosa::server {
namespace {

using io::OrderedJson;

// JSON has no infinity; a token that cannot come has OpenAI's number for it. The first token of a prompt has none.
OrderedJson LogprobJson(float logprob) {
  if (std::isnan(logprob)) return nullptr;
  return std::max(logprob, -9999.0f);
}

OrderedJson ChatTokenJson(const engine::TokenLogprob& token, const text::Tokenizer& tokenizer) {
  const std::string_view bytes = tokenizer.TokenBytes(token.id);
  OrderedJson json;
  json["token"] = bytes;  // what is not UTF-8 becomes U+FFFD when it is written
  json["logprob"] = LogprobJson(token.logprob);
  json["bytes"] = OrderedJson::array();
  for (const char byte : bytes) json["bytes"].push_back(static_cast<unsigned char>(byte));
  return json;
}

OrderedJson HeadJson(const ResponseHead& head, std::string_view object) {
  OrderedJson json;
  json["id"] = head.id;
  json["object"] = object;
  json["created"] = head.created;
  json["model"] = head.model;
  return json;
}

int64_t Characters(std::string_view text) {
  return std::count_if(text.begin(), text.end(), [](char c) { return (static_cast<unsigned char>(c) & 0xC0) != 0x80; });
}

}  // namespace

std::string TokenText(std::string_view bytes) {
  if (text::IsWellFormedUtf8(bytes)) return std::string(bytes);
  std::string text = "bytes:";
  for (const char byte : bytes) text += fmt::format("\\x{:02x}", static_cast<unsigned char>(byte));
  return text;
}

OrderedJson UsageJson(const UsageSum& usage) {
  OrderedJson json;
  json["prompt_tokens"] = usage.prompt_tokens;
  json["completion_tokens"] = usage.generated_tokens;
  json["total_tokens"] = usage.prompt_tokens + usage.generated_tokens;
  json["prompt_tokens_details"]["cached_tokens"] = usage.cached_tokens;
  return json;
}

OrderedJson FinishJson(engine::FinishReason reason, bool called) {
  if (reason == engine::FinishReason::kNone) return nullptr;
  if (reason == engine::FinishReason::kLength) return "length";
  return called ? "tool_calls" : "stop";
}

OrderedJson ChatLogprobsJson(std::span<const engine::PositionLogprobs> tokens, const text::Tokenizer& tokenizer) {
  OrderedJson content = OrderedJson::array();
  for (const engine::PositionLogprobs& position : tokens) {
    OrderedJson json = ChatTokenJson(position.token, tokenizer);
    json["top_logprobs"] = OrderedJson::array();
    for (const engine::TokenLogprob& top : position.top) json["top_logprobs"].push_back(ChatTokenJson(top, tokenizer));
    content.push_back(std::move(json));
  }
  return {{"content", std::move(content)}, {"refusal", nullptr}};
}

OrderedJson TextLogprobsJson(std::span<const engine::PositionLogprobs> tokens, const text::Tokenizer& tokenizer,
                             int64_t* offset) {
  OrderedJson texts = OrderedJson::array(), logprobs = texts, tops = texts, offsets = texts;
  for (const engine::PositionLogprobs& position : tokens) {
    const std::string_view bytes = tokenizer.TokenBytes(position.token.id);
    texts.push_back(TokenText(bytes));
    logprobs.push_back(LogprobJson(position.token.logprob));
    offsets.push_back(*offset);
    *offset += Characters(bytes);
    OrderedJson top = OrderedJson::object();
    for (const engine::TokenLogprob& likely : position.top)
      top[TokenText(tokenizer.TokenBytes(likely.id))] = LogprobJson(likely.logprob);
    // OpenAI's has the token that stands there too, though it is not among the likeliest.
    if (!position.top.empty()) top[TokenText(bytes)] = LogprobJson(position.token.logprob);
    tops.push_back(position.top.empty() ? OrderedJson() : std::move(top));
  }
  OrderedJson json;
  json["tokens"] = std::move(texts);
  json["token_logprobs"] = std::move(logprobs);
  json["top_logprobs"] = std::move(tops);
  json["text_offset"] = std::move(offsets);
  return json;
}

OrderedJson CallsJson(std::span<const ToolCall> calls) {
  OrderedJson array = OrderedJson::array();
  for (const ToolCall& call : calls) {
    OrderedJson json;
    json["id"] = call.id;
    json["type"] = "function";
    json["function"]["name"] = call.name;
    json["function"]["arguments"] = call.arguments;
    array.push_back(std::move(json));
  }
  return array;
}

OrderedJson CallBeginJson(int index, const ToolCall& call) {
  OrderedJson array = CallsJson({&call, 1});
  OrderedJson json;
  json["index"] = index;
  json.update(array[0]);
  return OrderedJson::array({std::move(json)});
}

OrderedJson CallArgumentsJson(int index, std::string_view arguments) {
  OrderedJson json;
  json["index"] = index;
  json["function"]["arguments"] = arguments;
  return OrderedJson::array({std::move(json)});
}

OrderedJson ChatJson(const ResponseHead& head, std::span<const Choice> choices, const ToolRequest& tools,
                     const UsageSum& usage, const text::Tokenizer& tokenizer) {
  OrderedJson json = HeadJson(head, "chat.completion");
  json["choices"] = OrderedJson::array();
  for (const Choice& choice : choices) {
    ParsedAnswer parsed = {choice.text, {}};
    if (tools.choice.kind != ToolChoice::Kind::kNone) parsed = ParseAnswer(choice.text, tools);
    OrderedJson message;
    message["role"] = "assistant";
    const bool called = !parsed.calls.empty();
    message["content"] = called && parsed.content.empty() ? OrderedJson() : OrderedJson(parsed.content);
    message["refusal"] = nullptr;
    if (called) message["tool_calls"] = CallsJson(parsed.calls);
    OrderedJson one;
    one["index"] = choice.index;
    one["message"] = std::move(message);
    one["logprobs"] = choice.wants_logprobs ? ChatLogprobsJson(choice.logprobs, tokenizer) : OrderedJson();
    one["finish_reason"] = FinishJson(choice.reason, called);
    json["choices"].push_back(std::move(one));
  }
  json["usage"] = UsageJson(usage);
  return json;
}

OrderedJson TextJson(const ResponseHead& head, std::span<const Choice> choices, const UsageSum& usage,
                     const text::Tokenizer& tokenizer) {
  OrderedJson json = HeadJson(head, "text_completion");
  json["choices"] = OrderedJson::array();
  for (const Choice& choice : choices) {
    OrderedJson one;
    int64_t offset = 0;
    one["index"] = choice.index;
    one["text"] = choice.text;
    one["logprobs"] = choice.wants_logprobs ? TextLogprobsJson(choice.logprobs, tokenizer, &offset) : OrderedJson();
    one["finish_reason"] = FinishJson(choice.reason);
    json["choices"].push_back(std::move(one));
  }
  json["usage"] = UsageJson(usage);
  return json;
}

OrderedJson ChatChunk(const ResponseHead& head, int index, OrderedJson delta) {
  OrderedJson json = HeadJson(head, "chat.completion.chunk");
  OrderedJson one;
  one["index"] = index;
  one["delta"] = std::move(delta);
  one["logprobs"] = nullptr;
  one["finish_reason"] = nullptr;
  json["choices"] = OrderedJson::array({std::move(one)});
  return json;
}

OrderedJson TextChunk(const ResponseHead& head, int index, std::string_view text) {
  OrderedJson json = HeadJson(head, "text_completion");
  OrderedJson one;
  one["index"] = index;
  one["text"] = text;
  one["logprobs"] = nullptr;
  one["finish_reason"] = nullptr;
  json["choices"] = OrderedJson::array({std::move(one)});
  return json;
}

OrderedJson UsageChunk(const ResponseHead& head, std::string_view object, const UsageSum& usage) {
  OrderedJson json = HeadJson(head, object);
  json["choices"] = OrderedJson::array();
  json["usage"] = UsageJson(usage);
  return json;
}

std::string SseEvent(const OrderedJson& json) { return fmt::format("data: {}\n\n", io::DumpJson(json)); }

}  // namespace nosa::server
