#include "server/tokenize_request.h"

#include "server/chat_request.h"
#include "server/completion_request.h"
#include "server/fields.h"

namespace nosa::server {
namespace {

std::optional<ApiError> ReadFields(BodyKind kind, const io::OrderedJson& body, TokenizeRequest* request) {
  if (auto error = CheckFields(kind, body)) return error;
  if (const io::OrderedJson* model = Find(body, "model")) request->model = model->get<std::string>();
  return std::nullopt;
}

}  // namespace

std::optional<ApiError> ParseTokenizeRequest(const io::OrderedJson& body, const text::Tokenizer& tokenizer,
                                             const ChatFormat& format, TokenizeRequest* request) {
  if (auto error = ReadFields(BodyKind::kTokenize, body, request)) return error;
  const io::OrderedJson* prompt = Find(body, "prompt");
  if ((prompt == nullptr) == (Find(body, "messages") == nullptr))
    return BadField("prompt", "Expected one of 'prompt' and 'messages'.", "invalid_value");
  if (prompt == nullptr) {
    std::string text;
    if (auto error = RenderChat(body, nullptr, format, &text)) return error;
    request->ids = format.Encode(tokenizer, text);
    return std::nullopt;
  }
  bool add_special = true;
  if (const io::OrderedJson* found = Find(body, "add_special_tokens")) add_special = found->get<bool>();
  request->ids = tokenizer.Encode(prompt->get_ref<const std::string&>(), {.add_special_tokens = add_special});
  return std::nullopt;
}

std::optional<ApiError> ParseDetokenizeRequest(const io::OrderedJson& body, const text::Tokenizer& tokenizer,
                                               TokenizeRequest* request) {
  if (auto error = ReadFields(BodyKind::kDetokenize, body, request)) return error;
  return ParseTokenIds("tokens", *Find(body, "tokens"), tokenizer.vocab_size(), &request->ids);
}

}  // namespace nosa::server
