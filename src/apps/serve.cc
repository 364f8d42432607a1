// nosa serve: OpenAI's API over HTTP.
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <thread>
#include <tuple>
#include <vector>

#include "apps/command.h"
#include "apps/interrupt.h"
#include "apps/report.h"
#include "apps/session.h"
#include "base/log.h"
#include "engine/service.h"
#include "server/http_server.h"

namespace nosa::apps {
namespace {

using std::chrono::milliseconds;

struct ServeFlags {
  CommonFlags common;
  server::HttpServerOptions http;
  engine::SchedulerOptions scheduler;
  std::optional<std::string> api_key_file, tls_certificate, tls_key, chat_template;
  std::vector<std::string> names;
  std::optional<int> context;
  int parallel = 8;
  int default_max_tokens = 2048;
  std::string prefix_cache = "on";
  bool share_prefixes = false;
  std::optional<uint64_t> body;
  double deadline_seconds = 0;  // 0: none
  double drain_seconds = 30;
  double idle_seconds = 60, head_seconds = 10, body_seconds = 120, write_seconds = 30;
};

// The last part of the model's path: how it is named when nobody says otherwise.
std::string NameOf(const std::string& model) {
  std::error_code ignored;
  const std::filesystem::path path = std::filesystem::weakly_canonical(model, ignored);
  const std::string name = path.filename().string();
  return name.empty() ? model : name;
}

int64_t ModifiedAt(const std::string& path) {
  struct stat info = {};
  return stat(path.c_str(), &info) == 0 ? static_cast<int64_t>(info.st_mtime) : 0;
}

milliseconds Milliseconds(double seconds) {
  return std::chrono::ceil<milliseconds>(std::chrono::duration<double>(seconds));
}

Result<std::unique_ptr<server::App>> MakeApp(const ServeFlags& flags, const Session& session, int context,
                                             engine::Service* service) {
  std::optional<std::filesystem::path> file;
  if (flags.chat_template) file = *flags.chat_template;
  NOSA_ASSIGN_OR_RETURN(server::ChatFormat chat, server::ChatFormat::Load(flags.common.model, file));
  auto app = std::make_unique<server::App>(service, session.tokenizer, std::move(chat));
  app->model_names = flags.names.empty() ? std::vector{NameOf(flags.common.model)} : flags.names;
  const schema::ModelConfig& config = session.model->config();
  app->bos_token = session.tokenizer->TokenBytes(config.bos_token);
  if (!config.eos_tokens.empty()) app->eos_token = session.tokenizer->TokenBytes(config.eos_tokens.front());
  app->created = ModifiedAt(flags.common.model);
  app->context = context;
  app->default_max_tokens = flags.default_max_tokens;
  if (flags.deadline_seconds > 0) app->deadline = Milliseconds(flags.deadline_seconds);
  app->needs_key = flags.http.keys.has_value();
  return app;
}

// For as many whole contexts as fit, up to --parallel: short requests are more at a time, and what does not fit waits.
Result<std::unique_ptr<engine::Engine>> MakeServingEngine(const Session& session, int context, int parallel,
                                                          PrefixSharing prefixes) {
  while (true) {
    const std::vector<int> sequences(static_cast<size_t>(parallel), context);
    Result<std::unique_ptr<engine::Engine>> engine = MakeEngine(session, sequences, Use::kAnswer, prefixes);
    const bool smaller = !engine.ok() && engine.status().code() == StatusCode::kResourceExhausted && parallel > 1;
    if (!smaller) {
      if (engine.ok()) {
        LogInfo("{} tokens of context, room for {} of them at once or more shorter ones: {}", context, parallel,
                (*engine)->store().DescribeTiers());
      }
      return engine;
    }
    parallel /= 2;
  }
}

// One line for programs: what listens where. With --json as an object.
Status PrintReady(const ServeFlags& flags, const server::HttpServer& http, const server::App& app) {
  if (flags.common.json) {
    io::OrderedJson json;
    json["ready"] = true;
    json["url"] = http.Url();
    json["port"] = http.port();
    json["model"] = app.model_names.front();
    json["context"] = app.context;
    Print(io::DumpJson(json) + "\n");
  } else {
    Print(fmt::format("ready {}\n", http.Url()));
  }
  return FlushStdout();
}

Status Serve(ServeFlags flags) {
  InstallTerminateHandler();
  if (flags.api_key_file) {
    NOSA_ASSIGN_OR_RETURN(flags.http.keys, server::ApiKeys::FromFile(*flags.api_key_file));
    flags.scheduler.tenants = flags.http.keys->limits();
  }
  flags.http.tls_certificate = flags.tls_certificate.value_or("");
  flags.http.tls_key = flags.tls_key.value_or("");
  if (flags.body) flags.http.limits.body_bytes = *flags.body;
  flags.http.limits.idle = Milliseconds(flags.idle_seconds);
  flags.http.limits.head = Milliseconds(flags.head_seconds);
  flags.http.limits.body = Milliseconds(flags.body_seconds);
  flags.http.limits.write = Milliseconds(flags.write_seconds);
  flags.http.access_log = !flags.common.quiet;
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, OpenSession(flags.common));
  NOSA_RETURN_IF_ERROR(session->NeedTokenizer());
  if (flags.context) NOSA_RETURN_IF_ERROR(CheckContext(*session, *flags.context));
  const int context = flags.context.value_or(static_cast<int>(session->model->config().max_position));
  const PrefixSharing prefixes = flags.prefix_cache == "off" ? PrefixSharing::kNone
                                 : flags.share_prefixes      ? PrefixSharing::kAcrossTenants
                                                             : PrefixSharing::kWithinTenant;
  NOSA_ASSIGN_OR_RETURN(std::unique_ptr<engine::Engine> engine,
                        MakeServingEngine(*session, context, flags.parallel, prefixes));
  const std::unique_ptr<engine::Service> service =
      engine::Service::Create(std::move(engine), {.scheduler = flags.scheduler});
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<server::App> app, MakeApp(flags, *session, context, service.get()));
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<server::HttpServer> http,
                        server::HttpServer::Create(app.get(), flags.http));
  http->Start();
  NOSA_RETURN_IF_ERROR(PrintReady(flags, *http, *app));
  while (!Interrupted() && http->Running()) std::this_thread::sleep_for(milliseconds(20));
  if (!Interrupted()) return IoError("{} accepts no more connections", http->Url());
  // Balancers see that it is not ready while what was begun is finished.
  LogInfo("draining: no more requests are taken, running ones have {} s", flags.drain_seconds);
  app->ready = false;
  service->Drain(Milliseconds(flags.drain_seconds));
  http->Stop();
  LogInfo("drained");
  return Status::Ok();
}

Status Check(const ServeFlags& flags) {
  NOSA_RETURN_IF_ERROR(CheckCommonFlags(flags.common));
  if (flags.tls_certificate.has_value() != flags.tls_key.has_value())
    return InvalidArgument("expected both of --tls-cert and --tls-key, found one");
  for (const auto& [name, seconds, least] :
       {std::tuple("--deadline", flags.deadline_seconds, 0.0), std::tuple("--drain", flags.drain_seconds, 0.0),
        std::tuple("--idle-timeout", flags.idle_seconds, 0.1), std::tuple("--head-timeout", flags.head_seconds, 0.1),
        std::tuple("--body-timeout", flags.body_seconds, 0.1),
        std::tuple("--write-timeout", flags.write_seconds, 0.1)}) {
    if (!(seconds >= least && seconds < 1e8))
      return InvalidArgument("{}: expected seconds from {} on, found {}", name, least, seconds);
  }
  for (const std::string& name : flags.names) {
    if (name.empty()) return InvalidArgument("--served-model-name: expected a name, found \"\"");
  }
  const server::HttpLimits& limits = flags.http.limits;
  if (limits.connections <= limits.reserved_connections)
    return InvalidArgument(
        "--max-connections: expected more than the {} that are kept for other things than answers, found {}",
        limits.reserved_connections, limits.connections);
  return Status::Ok();
}

}  // namespace

void AddServe(Command command) {
  auto flags = std::make_shared<ServeFlags>();
  command.Text("--host", &flags->http.host,
               "address to listen on; other than this machine's own only with --api-key-file", "ADDRESS");
  command.Int("--port", &flags->http.port, 0, "port to listen on; 0: a free one, which the ready line tells", 65535);
  command.Text("--api-key-file", &flags->api_key_file,
               "keys that may ask, one a line, with a name and limits (docs/server.md)", "FILE");
  command.Text("--tls-cert", &flags->tls_certificate, "certificate and its chain, PEM", "FILE");
  command.Text("--tls-key", &flags->tls_key, "its private key, PEM", "FILE");
  command.Text("--chat-template", &flags->chat_template, "chat template in place of the model's own", "FILE");
  command.Texts("--served-model-name", &flags->names,
                "name of the model in the API; may be given several times (default: its directory's)");
  command.Int("--context", &flags->context, 2, "most tokens of a prompt with its answer (default: the model's)");
  command.Int("--parallel", &flags->parallel, 1,
              "whole contexts that memory is laid out for; fewer where they do not fit", 4096);
  command.Choice("--prefix-cache", &flags->prefix_cache, {"on", "off"},
                 "whether beginnings of prompts stay cached for requests that begin alike (docs/prefix-reuse.md)");
  command.Switch("--share-prefixes", &flags->share_prefixes, "between keys too, not only between a key's own requests");
  command.Int("--max-requests", &flags->scheduler.max_running, 1, "most requests that are read or answered at once");
  command.Int("--max-queue", &flags->scheduler.max_queued, 0, "most requests that wait; more get 503");
  command.Int("--max-connections", &flags->http.limits.connections, 1, "most open connections; more get 503", 100000);
  command.Size("--max-body", &flags->body, "most bytes of a request's body (default: 16MiB)");
  command.Int("--default-max-tokens", &flags->default_max_tokens, 1,
              "most tokens of a chat's answer that names no bound");
  command.Number("--deadline", &flags->deadline_seconds, "seconds after which a request ends unfinished; 0: never");
  command.Number("--drain", &flags->drain_seconds, "seconds that running requests have after SIGTERM or Ctrl-C");
  command.Number("--idle-timeout", &flags->idle_seconds, "seconds that a connection may wait between requests");
  command.Number("--head-timeout", &flags->head_seconds, "seconds for the head of a request");
  command.Number("--body-timeout", &flags->body_seconds, "seconds for its body");
  command.Number("--write-timeout", &flags->write_seconds, "seconds that a client may take nothing of a reply");
  AddCommonFlags(command, &flags->common);
  command.Does([flags] { return Serve(*flags); }, [flags] { return Check(*flags); });
}

}  // namespace nosa::apps
