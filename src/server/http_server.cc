#include "server/http_server.h"

#include <fmt/format.h>
#include <httplib.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <system_error>
#include <thread>

#include "base/clock.h"
#include "base/log.h"
#include "server/connection.h"
#include "server/connection_threads.h"
#include "server/routes.h"

namespace nosa::server {
namespace {

using std::chrono::milliseconds;

// What is logged and counted of one request.
struct Exchange {
  const Route* route = nullptr;
  std::string method, path, tenant, note;
  int status = 0;
  bool body_read = false;
  Stopwatch since;
};

// What the handlers of the library are called about: it runs them on the connection's own thread.
struct Serving {
  Connection* connection = nullptr;
  const RequestHead* head = nullptr;
  Exchange* exchange = nullptr;
};
thread_local Serving serving;

class ChunkWriter final : public BodyWriter {
 public:
  ChunkWriter(Connection* connection, httplib::DataSink* sink) : connection_(connection), sink_(sink) {}
  bool Write(std::string_view bytes) override { return Alive() && sink_->write(bytes.data(), bytes.size()); }
  bool Alive() override { return connection_->Alive(); }
  // The library calls for the body before the exchange is over.
  void Note(std::string note) override { serving.exchange->note = std::move(note); }

 private:
  Connection* connection_;
  httplib::DataSink* sink_;
};

// A count that is above zero while this lives.
class Held {
 public:
  explicit Held(std::atomic<int>* count) : count_(count), before_(count->fetch_add(1)) {}
  Held(const Held&) = delete;
  ~Held() { count_->fetch_sub(1); }
  int before() const { return before_; }

 private:
  std::atomic<int>* count_;
  const int before_;
};

bool AsksForAnswer(const Route& route) { return route.body == BodyKind::kChat || route.body == BodyKind::kCompletion; }

bool IsJson(std::string_view content_type) {
  content_type = content_type.substr(0, content_type.find(';'));
  constexpr std::string_view kJson = "application/json";
  const size_t end = content_type.find_last_not_of(" \t");
  content_type = content_type.substr(0, end + 1);
  const auto equal = [](char a, char b) { return std::tolower(static_cast<unsigned char>(a)) == b; };
  return std::equal(content_type.begin(), content_type.end(), kJson.begin(), kJson.end(), equal);
}

class Implementation final : public HttpServer, private httplib::Server {
 public:
  Implementation(App* app, HttpServerOptions options) : app_(*app), options_(std::move(options)) {}
  ~Implementation() override { Stop(); }

  Status Bind();
  void Start() override;
  void Stop() override;
  bool Running() const override { return !ended_; }
  int port() const override { return port_; }
  std::string Url() const override;

 private:
  void Configure();
  bool process_and_close_socket(socket_t fd) override;
  // The next request of a connection; false: the last.
  bool ServeOne(Connection& connection, bool last);
  void Finish(const Exchange& exchange);

  // Handlers of the library.
  HandlerResponse Route(const httplib::Request& in, httplib::Response& out);
  void Post(const httplib::Request& in, httplib::Response& out, const httplib::ContentReader& reader);

  std::optional<ApiError> Admit(const httplib::Request& in, const server::Route& route);
  std::optional<ApiError> ReadBody(const httplib::ContentReader& reader, std::string* body);
  void Answer(const server::Route& route, const httplib::Request& in, std::string body, httplib::Response& out);
  void Send(HttpReply reply, const httplib::Request& in, std::shared_ptr<Held> held, httplib::Response& out);

  App& app_;
  const HttpServerOptions options_;
  std::shared_ptr<const TlsContext> tls_;
  int port_ = 0;
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> ended_ = false;       // no connection is accepted any more
  std::atomic<int> open_ = 0;             // connections
  std::atomic<int> answering_ = 0;        // requests for answers
  std::atomic<uint64_t> body_bytes_ = 0;  // of bodies held now
  std::thread accepting_;
};

Status Implementation::Bind() {
  const bool tls = !options_.tls_certificate.empty() || !options_.tls_key.empty();
  if (tls) {
    if (options_.tls_certificate.empty() || options_.tls_key.empty())
      return InvalidArgument("TLS needs a certificate and its key, found one of them");
    NOSA_ASSIGN_OR_RETURN(tls_, TlsContext::Load(options_.tls_certificate, options_.tls_key));
  }
  if (!options_.keys && !IsLoopback(options_.host))
    return FailedPrecondition(
        "without API keys only this machine is served (host 127.0.0.1, ::1 or localhost), found host {}",
        options_.host);
  Configure();
  errno = 0;
  const std::string host = options_.host;
  if (options_.port == 0) {
    port_ = bind_to_any_port(host);
  } else {
    port_ = bind_to_port(host, options_.port) ? options_.port : -1;
  }
  if (port_ <= 0) {
    const std::string why = errno == 0 ? "no such address" : std::generic_category().message(errno);
    return FailedPrecondition("cannot listen on {} port {}: {}", host, options_.port, why);
  }
  // The library's queue of 5 connections overflows when a hundred clients come at once; a second listen makes it
  // longer.
  ::listen(svr_sock_, SOMAXCONN);
  return Status::Ok();
}

void Implementation::Configure() {
  new_task_queue = [this] { return new ConnectionThreads(options_.limits.connections); };
  // Without SO_REUSEPORT, with which a second server could take half of the connections unseen.
  set_socket_options([](socket_t fd) {
    const int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  });
  set_keep_alive_max_count(static_cast<size_t>(options_.limits.requests_per_connection));
  set_keep_alive_timeout(std::chrono::duration_cast<std::chrono::seconds>(options_.limits.idle).count());
  set_payload_max_length(options_.limits.body_bytes);
  set_pre_routing_handler([this](const httplib::Request& in, httplib::Response& out) { return Route(in, out); });
  // Paths of POST have been matched before: this takes all that is left.
  httplib::Server::Post(".*", [this](const httplib::Request& in, httplib::Response& out,
                                     const httplib::ContentReader& reader) { Post(in, out, reader); });
  // The library's own refusals: what it could not parse.
  set_error_handler(HandlerWithResponse([](const httplib::Request&, httplib::Response& out) {
    if (!out.body.empty()) return HandlerResponse::Handled;
    const ApiError error = {.http_status = out.status, .message = "The request could not be read."};
    out.set_content(io::DumpJson(ToJson(error)), "application/json");
    return HandlerResponse::Handled;
  }));
  set_exception_handler([](const httplib::Request&, httplib::Response& out, std::exception_ptr thrown) {
    std::string what = "unknown";
    try {
      std::rethrow_exception(thrown);
    } catch (const std::exception& error) {
      what = error.what();
    } catch (...) {
    }
    LogWarn("a request failed: {}", what);
    out.status = 500;
    const ApiError error = ErrorOf(Internal("The server failed at this request."));
    out.set_content(io::DumpJson(ToJson(error)), "application/json");
  });
  // A connection that must end says so: a body that nobody read would be taken for the next request.
  set_post_routing_handler([](const httplib::Request&, httplib::Response& out) {
    if (serving.exchange != nullptr) serving.exchange->status = out.status;
    if (serving.head == nullptr || !serving.head->has_body() || serving.exchange->body_read) return;
    out.headers.erase("Connection");
    out.headers.erase("Keep-Alive");
    out.set_header("Connection", "close");
  });
}

std::string Implementation::Url() const {
  const bool v6 = options_.host.find(':') != std::string::npos;
  return fmt::format("{}://{}{}{}:{}", tls_ ? "https" : "http", v6 ? "[" : "", options_.host, v6 ? "]" : "", port_);
}

void Implementation::Start() {
  accepting_ = std::thread([this] {
    listen_after_bind();
    ended_ = true;
  });
}

void Implementation::Stop() {
  stopping_ = true;
  if (!accepting_.joinable()) {
    if (svr_sock_ != INVALID_SOCKET) ::close(svr_sock_.exchange(INVALID_SOCKET));
    return;
  }
  // stop() means nothing to a server that does not listen yet.
  while (!is_running() && !ended_) std::this_thread::sleep_for(milliseconds(1));
  if (!ended_) stop();
  accepting_.join();
}

bool Implementation::process_and_close_socket(socket_t fd) {
  const Held open(&open_);
  Connection connection(fd, tls_.get(), options_.limits, &stopping_);
  if (ConnectionThreads::refusing()) {
    app_.metrics.connections_refused.fetch_add(1);
    // In the clear it fits in the socket's buffer; a handshake would have others wait.
    if (tls_ == nullptr) connection.RefuseAtOnce();
    return false;
  }
  app_.metrics.connections.fetch_add(1);
  if (connection.Handshake()) {
    for (int i = 1; i <= options_.limits.requests_per_connection && !stopping_; ++i) {
      // When places are scarce, no connection keeps one while it has nothing to ask.
      const bool crowded = open_ > options_.limits.connections * 3 / 4;
      if (!ServeOne(connection, crowded || i == options_.limits.requests_per_connection)) break;
    }
  }
  app_.metrics.connections.fetch_sub(1);
  return true;
}

bool Implementation::ServeOne(Connection& connection, bool last) {
  RequestHead head;
  std::optional<ApiError> error;
  Exchange exchange;
  // A new connection has a request to send; one that had an answer may think about the next.
  const milliseconds idle = connection.fresh() ? options_.limits.head : options_.limits.idle;
  if (!connection.ReadHead(idle, &head, &error)) {
    if (!error) return false;
    app_.metrics.requests_malformed.fetch_add(1);
    connection.WriteError(*error);
    exchange.status = error->http_status;
    exchange.note = error->message;
    Finish(exchange);
    return false;
  }
  exchange.since.Restart();
  serving = {&connection, &head, &exchange};
  bool closed = false;
  const bool ok = process_request(connection, last || stopping_, closed, nullptr);
  serving = {};
  if (!ok && exchange.status == 0) exchange.status = 400;
  Finish(exchange);
  const bool unread = head.has_body() && !exchange.body_read;
  if (ok && !closed && !unread && !last && connection.Alive()) return true;
  connection.FinishWriting();
  return false;
}

void Implementation::Finish(const Exchange& exchange) {
  const double seconds = exchange.since.Seconds();
  app_.metrics.CountReply(exchange.route == nullptr ? "other" : exchange.route->path, exchange.status);
  app_.metrics.http_seconds.Observe(seconds);
  if (!options_.access_log) return;
  std::string line = exchange.method.empty() ? "no request" : fmt::format("{} {}", exchange.method, exchange.path);
  line += fmt::format(" {}", exchange.status);
  if (!exchange.tenant.empty()) line += fmt::format(" {}", exchange.tenant);
  line += fmt::format(" {:.0f} ms", seconds * 1000);
  if (!exchange.note.empty()) line += fmt::format(", {}", exchange.note);
  LogInfo("{}", line);
}

// Who may ask, and from where.
std::optional<ApiError> Implementation::Admit(const httplib::Request& in, const server::Route& route) {
  if (!options_.keys) {
    // A page of some other site in this machine's browser must not reach the server, though its name be made to mean
    // this machine.
    const RequestHead& head = *serving.head;
    if (!head.host.empty() && !IsLoopback(head.host))
      return ApiError{.http_status = 403,
                      .message = "Without API keys only requests to this machine by its own name are answered.",
                      .code = "forbidden"};
    if (!head.origin.empty() && !IsLoopback(HostOfOrigin(head.origin)))
      return ApiError{
          .http_status = 403, .message = "Without API keys no page of another site may ask.", .code = "forbidden"};
    return std::nullopt;
  }
  if (route.access == Access::kOpen) return std::nullopt;
  const std::string authorization = in.get_header_value("Authorization");
  std::optional<std::string> name = options_.keys->NameOf(authorization);
  if (!name) {
    return ApiError{.http_status = 401,
                    .message = authorization.empty()
                                   ? "You didn't provide an API key. Send it in the header Authorization: Bearer KEY."
                                   : "Incorrect API key provided.",
                    .code = "invalid_api_key"};
  }
  serving.exchange->tenant = *std::move(name);
  return std::nullopt;
}

Implementation::HandlerResponse Implementation::Route(const httplib::Request& in, httplib::Response& out) {
  Exchange& exchange = *serving.exchange;
  exchange.method = in.method;
  // As it came, without the query: decoded it could hold a line break, which would forge a line of the log.
  exchange.path = in.target.substr(0, std::min<size_t>(in.target.find('?'), 128));
  const auto refuse = [&](const ApiError& error) {
    Send(ToReply(error), in, nullptr, out);
    return HandlerResponse::Handled;
  };
  const RouteMatch match = FindRoute(in.method == "HEAD" ? "GET" : in.method, in.path);
  if (match.route == nullptr) {
    if (match.allowed.empty())
      return refuse({.http_status = 404,
                     .message = fmt::format("Invalid URL ({} {})", in.method, exchange.path),
                     .code = "not_found"});
    out.set_header("Allow", match.allowed);
    return refuse(
        {.http_status = 405,
         .message = fmt::format("Not allowed to {} on {} (allowed: {})", in.method, exchange.path, match.allowed),
         .code = "method_not_allowed"});
  }
  exchange.route = match.route;
  if (auto error = Admit(in, *match.route)) return refuse(*error);
  if (in.method == "POST") {
    if (!IsJson(in.get_header_value("Content-Type")))
      return refuse({.http_status = 415, .message = "Expected the header Content-Type: application/json."});
    return HandlerResponse::Unhandled;  // the library reads the body and calls Post
  }
  Answer(*match.route, in, "", out);
  return HandlerResponse::Handled;
}

std::optional<ApiError> Implementation::ReadBody(const httplib::ContentReader& reader, std::string* body) {
  std::optional<ApiError> error;
  const HttpLimits& limits = options_.limits;
  const bool read = reader([&](const char* data, size_t size) {
    if (body->size() + size > limits.body_bytes) {
      error = {.http_status = 413, .message = fmt::format("The body has more than {} bytes.", limits.body_bytes)};
      return false;
    }
    if (body_bytes_.fetch_add(size) + size > limits.all_bodies_bytes) {
      body_bytes_.fetch_sub(size);
      error = {.http_status = 503,
               .type = "server_error",
               .message = "The server holds too many large requests.",
               .code = "overloaded",
               .retry_after = 1};
      return false;
    }
    body->append(data, size);
    return true;
  });
  if (!read && !error)
    error = {.http_status = 408, .message = "The body of the request did not come whole or in time."};
  return error;
}

void Implementation::Post(const httplib::Request& in, httplib::Response& out, const httplib::ContentReader& reader) {
  Exchange& exchange = *serving.exchange;
  std::string body;
  const std::optional<ApiError> error = ReadBody(reader, &body);
  const uint64_t bytes = body.size();
  if (error) {
    Send(ToReply(*error), in, nullptr, out);
  } else {
    exchange.body_read = true;
    Answer(*exchange.route, in, std::move(body), out);
  }
  body_bytes_.fetch_sub(bytes);
}

void Implementation::Answer(const server::Route& route, const httplib::Request& in, std::string body,
                            httplib::Response& out) {
  std::shared_ptr<Held> held;
  if (AsksForAnswer(route)) {
    held = std::make_shared<Held>(&answering_);
    if (held->before() >= options_.limits.connections - options_.limits.reserved_connections) {
      return Send(ToReply({.http_status = 503,
                           .type = "server_error",
                           .message = "The server is busy with as many requests as it takes.",
                           .code = "overloaded",
                           .retry_after = 1}),
                  in, nullptr, out);
    }
  }
  HttpRequest request;
  request.method = in.method;
  request.path = in.path;
  request.tail = route.takes_tail() ? in.path.substr(route.stem().size()) : "";
  for (const auto& [name, value] : in.params) request.query.emplace(name, value);
  for (const auto& [name, value] : in.headers) {
    std::string lower = name;
    for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    request.headers.emplace(std::move(lower), value);
  }
  request.body = std::move(body);
  request.tenant = serving.exchange->tenant;
  request.alive = [connection = serving.connection] { return connection->Alive(); };
  Send(route.handler(app_, request), in, std::move(held), out);
}

void Implementation::Send(HttpReply reply, const httplib::Request& in, std::shared_ptr<Held> held,
                          httplib::Response& out) {
  if (reply.stream && in.version != "HTTP/1.1")
    reply = ToReply({.http_status = 505, .message = "A stream needs HTTP/1.1."});
  serving.exchange->note = reply.note;
  out.status = reply.status;
  for (const auto& [name, value] : reply.headers) out.set_header(name, value);
  if (!reply.stream) return out.set_content(reply.body, reply.content_type);
  const auto send = [stream = std::move(reply.stream), held, connection = serving.connection](size_t,
                                                                                              httplib::DataSink& sink) {
    ChunkWriter writer(connection, &sink);
    try {  // the library would let it end the program
      stream(writer);
    } catch (const std::exception& error) {
      LogWarn("a stream failed: {}", error.what());
      return false;
    }
    if (!writer.Alive()) return false;
    sink.done();
    return true;
  };
  out.set_chunked_content_provider(reply.content_type, send);
}

}  // namespace

Result<std::unique_ptr<HttpServer>> HttpServer::Create(App* app, HttpServerOptions options) {
  auto server = std::make_unique<Implementation>(app, std::move(options));
  NOSA_RETURN_IF_ERROR(server->Bind());
  return Result<std::unique_ptr<HttpServer>>(std::move(server));
}

}  // namespace nosa::server
