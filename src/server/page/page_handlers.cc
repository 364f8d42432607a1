// GET /, /page/..., /v1/nosa/...: the page, and what it shows.
#include <algorithm>
#include <charconv>

#include "server/api_error.h"
#include "server/app.h"
#include "server/page/cache_json.h"
#include "server/page/page_files.h"
#include "server/routes.h"

namespace nosa::server {
namespace {

// Nothing but this server's own files runs or is loaded, and nobody frames the page.
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'";

HttpReply NoSuchFile(const std::string& path) {
  return ToReply({.http_status = 404, .message = "there is no " + path, .code = "not_found"});
}

// Names do not change with what is in the files, so a browser asks each time; mostly the answer is 304.
HttpReply Send(const HttpRequest& request, std::string_view name) {
  const PageFile* file = FindPageFile(name);
  if (file == nullptr) return NoSuchFile(request.path);
  const std::string tag = '"' + std::string(file->digest.substr(0, 32)) + '"';
  HttpReply reply;
  reply.content_type = ContentTypeOf(name);
  reply.headers = {{"ETag", tag},
                   {"Cache-Control", "no-cache"},
                   {"Content-Security-Policy", kPolicy},
                   {"X-Content-Type-Options", "nosniff"},
                   {"Referrer-Policy", "no-referrer"},
                   {"Cross-Origin-Opener-Policy", "same-origin"},
                   {"Cross-Origin-Resource-Policy", "same-origin"}};
  if (request.Header("if-none-match").find(tag) != std::string_view::npos) {
    reply.status = 304;
  } else {
    reply.body = file->bytes;
  }
  return reply;
}

// Keys see the requests of their own tenant alone.
std::vector<engine::AnswerInfo> AnswersFor(const App& app, const HttpRequest& request) {
  std::vector<engine::AnswerInfo> answers = app.service->Answers();
  std::erase_if(answers, [&](const engine::AnswerInfo& answer) { return answer.tenant != request.tenant; });
  return answers;
}

HttpReply Fresh(const io::OrderedJson& json) {
  return {.headers = {{"Cache-Control", "no-store"}}, .body = io::DumpJson(json)};
}

}  // namespace

HttpReply Page(App&, const HttpRequest& request) { return Send(request, "index.html"); }
HttpReply PageIcon(App&, const HttpRequest& request) { return Send(request, "favicon.svg"); }
HttpReply PagePart(App&, const HttpRequest& request) { return Send(request, request.tail); }

HttpReply EngineStatus(App& app, const HttpRequest& request) {
  return Fresh(StatusJson(app.model_names.front(), app.service->Stats(), AnswersFor(app, request)));
}

HttpReply CacheOfAnswer(App& app, const HttpRequest& request) {
  const std::string_view text = request.Query("id");
  uint64_t id = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), id);
  if (error != std::errc() || end != text.data() + text.size() || text.empty())
    return ToReply(BadField("id", "id must be the number of a request, as /v1/nosa/status lists them"));
  const std::vector<engine::AnswerInfo> answers = AnswersFor(app, request);
  const bool known = std::any_of(answers.begin(), answers.end(), [&](const auto& answer) { return answer.id == id; });
  std::optional<engine::CacheMap> map;
  if (known) map = app.service->Map(id);
  // Not an error: whoever looks at one that runs sees it end between two looks.
  if (!map) return {.status = 204};
  return Fresh(CacheMapJson(*map));
}

}  // namespace nosa::server
