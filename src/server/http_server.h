// The routes over HTTP/1.1, in the clear or through TLS: connections, keys, limits, the access log. cpp-httplib parses
// and writes; what a connection may cost is bounded here (connection.h, request_head.h).
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>

#include "server/api_keys.h"
#include "server/app.h"
#include "server/http_limits.h"

namespace nosa::server {

struct HttpServerOptions {
  std::string host = "127.0.0.1";
  int port = 8080;                       // 0: a free one
  std::optional<ApiKeys> keys;           // none: everybody may ask, and `host` must be this machine's loopback
  std::string tls_certificate, tls_key;  // PEM files; both or none
  bool access_log = true;                // one line a request, through the log
  HttpLimits limits;
};

class HttpServer {
 public:
  // Binds, and answers nobody yet. `app` outlives it. kFailedPrecondition: a host that is not loopback without keys, an
  // address that cannot be had, TLS files that are none.
  static Result<std::unique_ptr<HttpServer>> Create(App* app, HttpServerOptions options);
  virtual ~HttpServer() = default;  // as Stop

  // Begins to answer, on threads of its own: one that accepts, and one a connection.
  virtual void Start() = 0;
  // Takes no more connections, lets those that are being answered finish, and returns when they have. Replies that
  // wait for the engine end when the engine's service ends them.
  virtual void Stop() = 0;
  // False once no connection is accepted any more: after Stop, or when the system took the socket away.
  virtual bool Running() const = 0;
  virtual int port() const = 0;
  // "http://127.0.0.1:8080"
  virtual std::string Url() const = 0;
};

}  // namespace nosa::server
