// GET /v1/models, /health, /metrics: what is served, and how it is.
#include "server/app.h"
#include "server/completion.h"
#include "server/routes.h"

namespace nosa::server {
namespace {

io::OrderedJson ModelJson(const App& app, const std::string& name) {
  io::OrderedJson json;
  json["id"] = name;
  json["object"] = "model";
  json["created"] = app.created;
  json["owned_by"] = "nosa";
  json["max_model_len"] = app.context;
  return json;
}

}  // namespace

HttpReply ListModels(App& app, const HttpRequest&) {
  io::OrderedJson json;
  json["object"] = "list";
  json["data"] = io::OrderedJson::array();
  for (const std::string& name : app.model_names) json["data"].push_back(ModelJson(app, name));
  HttpReply reply = {.body = io::DumpJson(json)};
  return reply;
}

HttpReply GetModel(App& app, const HttpRequest& request) {
  if (auto error = CheckModel(app, request.tail)) return ToReply(*error);
  HttpReply reply = {.body = io::DumpJson(ModelJson(app, request.tail))};
  return reply;
}

HttpReply Live(App&, const HttpRequest&) {
  HttpReply reply = {.body = R"({"status":"live"})"};
  return reply;
}

HttpReply Ready(App& app, const HttpRequest&) {
  HttpReply reply = {.body = R"({"status":"ready"})"};
  if (!app.ready.load()) reply = {.status = 503, .body = R"({"status":"draining"})"};
  return reply;
}

HttpReply Metrics(App& app, const HttpRequest&) {
  HttpReply reply = {.content_type = "text/plain; version=0.0.4; charset=utf-8",
                     .body = app.metrics.Write(app.service->Stats())};
  return reply;
}

}  // namespace nosa::server
