// One client's connection: bytes in and out under deadlines, in the clear or through TLS, as the stream that the HTTP
// library reads and writes. Private to http_server.cc.
#pragma once

#include <httplib.h>

#include <atomic>
#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/status.h"
#include "server/api_error.h"
#include "server/http_limits.h"
#include "server/request_head.h"

namespace nosa::server {

// The server's side of TLS 1.2 and 1.3. Immutable, thread-safe.
class TlsContext {
 public:
  // PEM files: the certificate with its chain, and its key. kFailedPrecondition says which is wrong and how.
  static Result<std::shared_ptr<const TlsContext>> Load(const std::string& certificate, const std::string& key);
  // One connection; destroyed with it.
  SSL* NewConnection(int fd) const;

 private:
  explicit TlsContext(SSL_CTX* context) : context_(context, SSL_CTX_free) {}
  std::unique_ptr<SSL_CTX, void (*)(SSL_CTX*)> context_;
};

// One thread. Reads the head of each request whole and checks it, then gives it to the library, and after it the body.
class Connection final : public httplib::Stream {
 public:
  // Takes over `fd`. `tls`: null for plain HTTP. *stopping becomes true when idle connections are to close.
  Connection(int fd, const TlsContext* tls, const HttpLimits& limits, const std::atomic<bool>* stopping);
  ~Connection() override;

  // TLS only; at most the time of a head.
  bool Handshake();

  // Waits for the next request, at most `idle` for its first byte. False: the client is gone or idle, or the server
  // stops; or *error says what is wrong with the request.
  bool ReadHead(std::chrono::milliseconds idle, RequestHead* head, std::optional<ApiError>* error);
  // No request has been read yet.
  bool fresh() const { return fresh_; }
  // 503 without waiting for anything.
  void RefuseAtOnce();
  // A reply without the library, after which the connection ends.
  void WriteError(const ApiError& error);
  // The client has not closed its side. A client that only ends its half counts as gone, as with most servers.
  bool Alive();
  // All of it, unless the client is gone or takes nothing for the limit.
  bool WriteAll(std::string_view bytes);
  // Tells the client that this is the end, and throws away what it still sends for a moment: closing with unread bytes
  // could destroy the reply on its way.
  void FinishWriting();

  // httplib::Stream
  bool is_readable() const override { return true; }
  bool is_writable() const override { return !failed_; }
  ssize_t read(char* ptr, size_t size) override;
  ssize_t write(const char* ptr, size_t size) override;
  void get_remote_ip_and_port(std::string& ip, int& port) const override;
  void get_local_ip_and_port(std::string& ip, int& port) const override;
  socket_t socket() const override { return fd_; }

 private:
  using Time = std::chrono::steady_clock::time_point;

  // Bytes that have come, at most `size`; 0: the end; -1: an error, or the time is over.
  ssize_t Receive(char* ptr, size_t size, Time deadline);
  // What to wait for after a call of TLS that did not finish; false: it failed for good.
  bool WaitFor(short events, Time deadline, bool until_stopping = false);
  // Of SSL_read and its like: true when it is worth trying again.
  bool WaitForTls(int result, Time deadline);

  const int fd_;
  const HttpLimits& limits_;
  const std::atomic<bool>* stopping_;
  std::unique_ptr<SSL, void (*)(SSL*)> tls_;
  std::string received_;  // read from the client, not yet given to anybody
  std::string head_;      // checked, for the library
  size_t head_given_ = 0;
  Time body_deadline_;
  bool fresh_ = true;
  bool failed_ = false;  // nothing can be sent any more
  bool secure_ = false;  // the handshake is done
};

}  // namespace nosa::server
