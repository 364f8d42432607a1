// POST /tokenize and /detokenize, GET /tokenizer_info
#include "server/completion.h"
#include "server/routes.h"
#include "server/tokenize_request.h"

namespace nosa::server {

HttpReply Tokenize(App& app, const HttpRequest& request) {
  io::OrderedJson body;
  TokenizeRequest asked;
  if (auto error = ParseBody(request, &body)) return ToReply(*error);
  if (auto error = ParseTokenizeRequest(body, *app.tokenizer, app.chat, &asked)) return ToReply(*error);
  if (asked.model) {
    if (auto error = CheckModel(app, *asked.model)) return ToReply(*error);
  }
  io::OrderedJson json;
  json["count"] = asked.ids.size();
  json["max_model_len"] = app.context;
  json["tokens"] = std::move(asked.ids);
  HttpReply reply = {.body = io::DumpJson(json)};
  return reply;
}

HttpReply Detokenize(App& app, const HttpRequest& request) {
  io::OrderedJson body;
  TokenizeRequest asked;
  if (auto error = ParseBody(request, &body)) return ToReply(*error);
  if (auto error = ParseDetokenizeRequest(body, *app.tokenizer, &asked)) return ToReply(*error);
  if (asked.model) {
    if (auto error = CheckModel(app, *asked.model)) return ToReply(*error);
  }
  io::OrderedJson json;
  json["prompt"] = PromptText(*app.tokenizer, asked.ids);
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
