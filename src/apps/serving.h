// A server in this process: the engine, its service, the routes, the sockets. What `serve` and `bench serve` run.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "apps/session.h"
#include "engine/service.h"
#include "server/http_server.h"

namespace nosa::apps {

struct ServingOptions {
  server::HttpServerOptions http;
  engine::SchedulerOptions scheduler;
  std::optional<std::string> chat_template;  // a file, in place of the model's own
  std::vector<std::string> names;            // of the model in the API; none: its directory's
  std::optional<int> context;                // most tokens of a prompt with its answer; none: the model's
  int parallel = 8;                          // whole contexts that memory is laid out for; fewer where they do not fit
  int default_max_tokens = 2048;
  PrefixSharing prefixes = PrefixSharing::kWithinTenant;
  std::optional<std::chrono::milliseconds> deadline;
};

// Destroyed from the last to the first.
struct Serving {
  std::unique_ptr<engine::Service> service;
  std::unique_ptr<server::App> app;
  std::unique_ptr<server::HttpServer> http;
};

// Of a process that serves, before its threads begin: keeps what connections free from staying in a heap of each
// thread.
void UseFewHeaps();

// Bound, and not started yet. The session outlives it. Fails as MakeEngine and HttpServer::Create do, without a
// tokenizer, and for a context longer than the model's.
Result<Serving> MakeServing(const Session& session, ServingOptions options);

}  // namespace nosa::apps
