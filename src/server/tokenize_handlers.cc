// POST /tokenize and /detokenize, GET /tokenizer_info
#include <fmt/format.h>

#include "server/chat_request.h"
#include "server/completion.h"
#include "server/fields.h"
#include "server/routes.h"

namespace nosa::server {
namespace {

std::optional<ApiError> ReadBody(const App& app, const HttpRequest& request, BodyKind kind, io::OrderedJson* body) {
  if (auto error = ParseBody(request, body)) return error;
  if (auto error = CheckFields(kind, *body)) return error;
  const io::OrderedJson* model = Find(*body, "model");
  return model == nullptr ? std::nullopt : CheckModel(app, model->get<std::string>());
}

}  // namespace

HttpReply Tokenize(App& app, const HttpRequest& request) {
  io::OrderedJson body;
  if (auto error = ReadBody(app, request, BodyKind::kTokenize, &body)) return ToReply(*error);
  const io::OrderedJson* prompt = Find(body, "prompt");
  if ((prompt == nullptr) == (Find(body, "messages") == nullptr))
    return ToReply(BadField("prompt", "Expected one of 'prompt' and 'messages'.", "invalid_value"));
  std::vector<TokenId> ids;
  if (prompt != nullptr) {
    bool add_special = true;
    if (auto error = GetBool("", body, "add_special_tokens", &add_special)) return ToReply(*error);
    ids = app.tokenizer->Encode(prompt->get_ref<const std::string&>(), {.add_special_tokens = add_special});
  } else {
    std::string text;
    if (auto error = RenderChat(body, nullptr, app.chat, &text)) return ToReply(*error);
    ids = app.chat.Encode(*app.tokenizer, text);
  }
  io::OrderedJson json;
  json["count"] = ids.size();
  json["max_model_len"] = app.context;
  json["tokens"] = std::move(ids);
  HttpReply reply = {.body = io::DumpJson(json)};
  return reply;
}

HttpReply Detokenize(App& app, const HttpRequest& request) {
  io::OrderedJson body;
  if (auto error = ReadBody(app, request, BodyKind::kDetokenize, &body)) return ToReply(*error);
  std::vector<TokenId> ids;
  if (auto error = ParseTokenIds("tokens", *Find(body, "tokens"), app.tokenizer->vocab_size(), &ids))
    return ToReply(*error);
  io::OrderedJson json;
  json["prompt"] = PromptText(*app.tokenizer, ids);
  HttpReply reply = {.body = io::DumpJson(json)};
  return reply;
}

HttpReply TokenizerInfo(App& app, const HttpRequest&) {
  const auto or_null = [](const std::string& text) { return text.empty() ? io::OrderedJson() : io::OrderedJson(text); };
  io::OrderedJson json;
  json["tokenizer_class"] = "PreTrainedTokenizerFast";
  json["bos_token"] = or_null(app.bos_token);
  json["eos_token"] = or_null(app.eos_token);
  json["model_max_length"] = app.context;
  json["chat_template"] = app.chat.source();
  HttpReply reply = {.body = io::DumpJson(json)};
  return reply;
}

}  // namespace nosa::server
