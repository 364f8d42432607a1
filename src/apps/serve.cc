// nosa serve: OpenAI's API over HTTP.
#include <chrono>
#include <memory>
#include <thread>
#include <tuple>
#include <vector>

#include "apps/command.h"
#include "apps/interrupt.h"
#include "apps/report.h"
#include "apps/serving.h"
#include "base/log.h"

namespace nosa::apps {
namespace {

using std::chrono::milliseconds;

struct ServeFlags {
  CommonFlags common;
  ServingOptions serving;
  std::optional<std::string> api_key_file, tls_certificate, tls_key;
  std::string prefix_cache = "on";
  bool share_prefixes = false;
  std::optional<uint64_t> body;
  double deadline_seconds = 0;  // 0: none
  double drain_seconds = 30;
  double idle_seconds = 60, head_seconds = 10, body_seconds = 120, write_seconds = 30;
};

milliseconds Milliseconds(double seconds) {
  return std::chrono::ceil<milliseconds>(std::chrono::duration<double>(seconds));
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
  UseFewHeaps();
  server::HttpServerOptions& http = flags.serving.http;
  if (flags.api_key_file) {
    NOSA_ASSIGN_OR_RETURN(http.keys, server::ApiKeys::FromFile(*flags.api_key_file));
    flags.serving.scheduler.tenants = http.keys->limits();
  }
  http.tls_certificate = flags.tls_certificate.value_or("");
  http.tls_key = flags.tls_key.value_or("");
  if (flags.body) http.limits.body_bytes = *flags.body;
  http.limits.idle = Milliseconds(flags.idle_seconds);
  http.limits.head = Milliseconds(flags.head_seconds);
  http.limits.body = Milliseconds(flags.body_seconds);
  http.limits.write = Milliseconds(flags.write_seconds);
  http.access_log = !flags.common.quiet;
  if (flags.deadline_seconds > 0) flags.serving.deadline = Milliseconds(flags.deadline_seconds);
  flags.serving.prefixes = flags.prefix_cache == "off" ? PrefixSharing::kNone
                           : flags.share_prefixes      ? PrefixSharing::kAcrossTenants
                                                       : PrefixSharing::kWithinTenant;
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, OpenSession(flags.common));
  NOSA_ASSIGN_OR_RETURN(const Serving serving, MakeServing(*session, flags.serving));
  serving.http->Start();
  NOSA_RETURN_IF_ERROR(PrintReady(flags, *serving.http, *serving.app));
  while (!Interrupted() && serving.http->Running()) std::this_thread::sleep_for(milliseconds(20));
  if (!Interrupted()) return IoError("{} accepts no more connections", serving.http->Url());
  // Balancers see that it is not ready while what was begun is finished.
  LogInfo("draining: no more requests are taken, running ones have {} s", flags.drain_seconds);
  serving.app->ready = false;
  serving.service->Drain(Milliseconds(flags.drain_seconds));
  serving.http->Stop();
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
  for (const std::string& name : flags.serving.names) {
    if (name.empty()) return InvalidArgument("--served-model-name: expected a name, found \"\"");
  }
  const server::HttpLimits& limits = flags.serving.http.limits;
  if (limits.connections <= limits.reserved_connections)
    return InvalidArgument(
        "--max-connections: expected more than the {} that are kept for other things than answers, found {}",
        limits.reserved_connections, limits.connections);
  return Status::Ok();
}

}  // namespace

void AddServe(Command command) {
  auto flags = std::make_shared<ServeFlags>();
  command.Text("--host", &flags->serving.http.host,
               "address to listen on; other than this machine's own only with --api-key-file", "ADDRESS");
  command.Int("--port", &flags->serving.http.port, 0, "port to listen on; 0: a free one, which the ready line tells",
              65535);
  command.Text("--api-key-file", &flags->api_key_file,
               "keys that may ask, one a line, with a name and limits (docs/server.md)", "FILE");
  command.Text("--tls-cert", &flags->tls_certificate, "certificate and its chain, PEM", "FILE");
  command.Text("--tls-key", &flags->tls_key, "its private key, PEM", "FILE");
  command.Text("--chat-template", &flags->serving.chat_template, "chat template in place of the model's own", "FILE");
  command.Texts("--served-model-name", &flags->serving.names,
                "name of the model in the API; may be given several times (default: its directory's)");
  command.Int("--context", &flags->serving.context, 2,
              "most tokens of a prompt with its answer (default: the model's)");
  command.Int("--parallel", &flags->serving.parallel, 1,
              "whole contexts that memory is laid out for; fewer where they do not fit", 4096);
  command.Choice("--prefix-cache", &flags->prefix_cache, {"on", "off"},
                 "whether beginnings of prompts stay cached for requests that begin alike (docs/prefix-reuse.md)");
  command.Switch("--share-prefixes", &flags->share_prefixes, "between keys too, not only between a key's own requests");
  command.Int("--max-requests", &flags->serving.scheduler.max_running, 1,
              "most requests that are read or answered at once");
  command.Int("--max-queue", &flags->serving.scheduler.max_queued, 0, "most requests that wait; more get 503");
  command.Int("--max-connections", &flags->serving.http.limits.connections, 1, "most open connections; more get 503",
              100000);
  command.Size("--max-body", &flags->body, "most bytes of a request's body (default: 16MiB)");
  command.Int("--default-max-tokens", &flags->serving.default_max_tokens, 1,
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
