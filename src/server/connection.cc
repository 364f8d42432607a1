#include "server/connection.h"

#include <fcntl.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace nosa::server {
namespace {

using std::chrono::milliseconds;

// How soon a waiting connection sees that the server stops.
constexpr milliseconds kStopCheck(100);

std::string TlsError() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  const char* reason = code == 0 ? nullptr : ERR_reason_error_string(code);
  return reason == nullptr ? "unknown error" : reason;
}

std::string_view ReasonPhrase(int status) {
  switch (status) {
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 408: return "Request Timeout";
    case 413: return "Payload Too Large";
    case 414: return "URI Too Long";
    case 415: return "Unsupported Media Type";
    case 431: return "Request Header Fields Too Large";
    case 501: return "Not Implemented";
    case 503: return "Service Unavailable";
    case 505: return "HTTP Version Not Supported";
    default: return "Error";
  }
}

// A whole reply, after which the connection ends.
std::string Text(const ApiError& error) {
  const HttpReply reply = ToReply(error);
  std::string text = fmt::format("HTTP/1.1 {} {}\r\n", reply.status, ReasonPhrase(reply.status));
  for (const auto& [name, value] : reply.headers) text += fmt::format("{}: {}\r\n", name, value);
  return text + fmt::format("Content-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{}", reply.content_type,
                            reply.body.size(), reply.body);
}

}  // namespace

Result<std::shared_ptr<const TlsContext>> TlsContext::Load(const std::string& certificate, const std::string& key) {
  SSL_CTX* context = SSL_CTX_new(TLS_server_method());
  if (context == nullptr) return FailedPrecondition("TLS cannot be set up: {}", TlsError());
  std::shared_ptr<const TlsContext> made(new TlsContext(context));
  SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
  // A write may take a part, and is tried again from another place.
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  if (SSL_CTX_use_certificate_chain_file(context, certificate.c_str()) != 1)
    return FailedPrecondition("{} is no certificate in PEM form: {}", certificate, TlsError());
  if (SSL_CTX_use_PrivateKey_file(context, key.c_str(), SSL_FILETYPE_PEM) != 1)
    return FailedPrecondition("{} is no private key in PEM form that goes with {}: {}", key, certificate, TlsError());
  if (SSL_CTX_check_private_key(context) != 1)
    return FailedPrecondition("the key in {} does not go with the certificate in {}", key, certificate);
  return made;
}

SSL* TlsContext::NewConnection(int fd) const {
  SSL* tls = SSL_new(context_.get());
  if (tls != nullptr && SSL_set_fd(tls, fd) == 1) return tls;
  SSL_free(tls);
  ERR_clear_error();
  return nullptr;
}

Connection::Connection(int fd, const TlsContext* tls, const HttpLimits& limits, const std::atomic<bool>* stopping)
    : fd_(fd), limits_(limits), stopping_(stopping), tls_(nullptr, SSL_free) {
  fcntl(fd_, F_SETFL, fcntl(fd_, F_GETFL) | O_NONBLOCK);
  const int on = 1;
  setsockopt(fd_, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));  // a token goes out when it is there
  // What a client has not read waits in the engine, which then stops making more, and not in the system.
  const int most_unsent = 256 << 10;
  setsockopt(fd_, SOL_SOCKET, SO_SNDBUF, &most_unsent, sizeof(most_unsent));
  if (tls != nullptr) {
    tls_.reset(tls->NewConnection(fd_));
    failed_ = tls_ == nullptr;
  }
}

Connection::~Connection() {
  if (secure_ && !failed_) SSL_shutdown(tls_.get());
  tls_.reset();
  ::close(fd_);
}

bool Connection::WaitFor(short events, Time deadline, bool until_stopping) {
  while (true) {
    const auto left = std::chrono::ceil<milliseconds>(deadline - std::chrono::steady_clock::now());
    if (left <= milliseconds(0)) return false;
    pollfd waited = {fd_, events, 0};
    const int ready = ::poll(&waited, 1, static_cast<int>(std::min(left, kStopCheck).count()));
    if (ready > 0) return true;
    if (ready < 0 && errno != EINTR) return false;
    if (until_stopping && stopping_->load()) return false;
  }
}

bool Connection::WaitForTls(int result, Time deadline) {
  const int error = SSL_get_error(tls_.get(), result);
  ERR_clear_error();
  if (error == SSL_ERROR_WANT_READ) return WaitFor(POLLIN, deadline);
  if (error == SSL_ERROR_WANT_WRITE) return WaitFor(POLLOUT, deadline);
  // After these nothing may be done with it, not even saying goodbye.
  if (error == SSL_ERROR_SYSCALL || error == SSL_ERROR_SSL) failed_ = true;
  return false;
}

bool Connection::Handshake() {
  if (tls_ == nullptr) return !failed_;
  const Time deadline = std::chrono::steady_clock::now() + limits_.head;
  ERR_clear_error();
  while (true) {
    const int result = SSL_accept(tls_.get());
    if (result == 1) return secure_ = true;
    if (!WaitForTls(result, deadline)) return false;
  }
}

ssize_t Connection::Receive(char* ptr, size_t size, Time deadline) {
  while (true) {
    if (tls_ != nullptr) {
      const int got = SSL_read(tls_.get(), ptr, static_cast<int>(std::min<size_t>(size, 1 << 20)));
      if (got > 0) return got;
      if (SSL_get_error(tls_.get(), got) == SSL_ERROR_ZERO_RETURN) return 0;
      if (!WaitForTls(got, deadline)) return -1;
    } else {
      const ssize_t got = ::recv(fd_, ptr, size, 0);
      if (got >= 0) return got;
      if (errno == EINTR) continue;
      if ((errno != EAGAIN && errno != EWOULDBLOCK) || !WaitFor(POLLIN, deadline)) return -1;
    }
  }
}

bool Connection::ReadHead(milliseconds idle, RequestHead* head, std::optional<ApiError>* error) {
  constexpr std::string_view kEnd = "\r\n\r\n";
  error->reset();
  // The next request may be there already, whole or in part.
  if (received_.empty() && (tls_ == nullptr || SSL_pending(tls_.get()) == 0) &&
      !WaitFor(POLLIN, std::chrono::steady_clock::now() + idle, /*until_stopping=*/true))
    return false;
  const Time deadline = std::chrono::steady_clock::now() + limits_.head;
  size_t searched = 0, end = 0;
  while ((end = received_.find(kEnd, searched)) == received_.npos) {
    if (received_.size() > limits_.head_bytes) {
      *error = {.http_status = 431, .message = fmt::format("The head is longer than {} bytes.", limits_.head_bytes)};
      return false;
    }
    searched = received_.size() - std::min(received_.size(), kEnd.size() - 1);
    char buffer[4096];
    const ssize_t got = Receive(buffer, sizeof(buffer), deadline);
    if (got > 0) {
      received_.append(buffer, static_cast<size_t>(got));
      continue;
    }
    // A client that leaves between requests has done nothing wrong.
    if (got < 0 && !failed_ && std::chrono::steady_clock::now() >= deadline)
      *error = {.http_status = 408, .message = "The head of the request took too long."};
    return false;
  }
  const size_t size = end + kEnd.size();
  if (size > limits_.head_bytes) {
    *error = {.http_status = 431, .message = fmt::format("The head is longer than {} bytes.", limits_.head_bytes)};
    return false;
  }
  *head = {};
  *error = ParseHead(std::string_view(received_).substr(0, size), limits_, head);
  received_.erase(0, size);
  if (*error) return false;
  fresh_ = false;
  head_ = head->text;
  head_given_ = 0;
  body_deadline_ = std::chrono::steady_clock::now() + limits_.body;
  return true;
}

ssize_t Connection::read(char* ptr, size_t size) {
  if (head_given_ < head_.size()) {
    const size_t given = head_.copy(ptr, size, head_given_);
    head_given_ += given;
    return static_cast<ssize_t>(given);
  }
  if (!received_.empty()) {
    const size_t given = received_.copy(ptr, size);
    received_.erase(0, given);
    return static_cast<ssize_t>(given);
  }
  return Receive(ptr, size, body_deadline_);
}

ssize_t Connection::write(const char* ptr, size_t size) {
  return WriteAll({ptr, size}) ? static_cast<ssize_t>(size) : -1;
}

bool Connection::WriteAll(std::string_view bytes) {
  Time deadline = std::chrono::steady_clock::now() + limits_.write;
  while (!bytes.empty() && !failed_) {
    ssize_t sent = 0;
    if (tls_ != nullptr) {
      const int result = SSL_write(tls_.get(), bytes.data(), static_cast<int>(std::min<size_t>(bytes.size(), 1 << 20)));
      sent = result;
      if (result <= 0) {
        if (!WaitForTls(result, deadline)) failed_ = true;
        continue;
      }
    } else {
      sent = ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL);
      if (sent < 0) {
        if (errno == EINTR) continue;
        if ((errno != EAGAIN && errno != EWOULDBLOCK) || !WaitFor(POLLOUT, deadline)) failed_ = true;
        continue;
      }
    }
    bytes.remove_prefix(static_cast<size_t>(sent));
    // A client that takes a little now and then may do so for as long as it likes, but not hold up the end.
    if (!stopping_->load()) deadline = std::chrono::steady_clock::now() + limits_.write;
  }
  return !failed_;
}

bool Connection::Alive() {
  if (failed_) return false;
  pollfd asked = {fd_, POLLRDHUP, 0};
  if (::poll(&asked, 1, 0) > 0 && (asked.revents & (POLLRDHUP | POLLHUP | POLLERR | POLLNVAL)) != 0) failed_ = true;
  return !failed_;
}

void Connection::WriteError(const ApiError& error) {
  WriteAll(Text(error));
  FinishWriting();
}

void Connection::RefuseAtOnce() {
  const std::string text = Text({.http_status = 503,
                                 .type = "server_error",
                                 .message = "There are as many connections as the server takes.",
                                 .code = "overloaded",
                                 .retry_after = 1});
  // What the client sends is read first, if it is there: closing with unread bytes destroys the reply on its way.
  char buffer[4096];
  [[maybe_unused]] const ssize_t got = ::recv(fd_, buffer, sizeof(buffer), MSG_DONTWAIT);
  [[maybe_unused]] const ssize_t sent = ::send(fd_, text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
  ::shutdown(fd_, SHUT_WR);
}

void Connection::FinishWriting() {
  if (failed_) return;
  if (secure_) SSL_shutdown(tls_.get());
  secure_ = false;
  ::shutdown(fd_, SHUT_WR);
  // Long enough for a reply to arrive, short enough to cost nobody anything; and no more than a client has in flight.
  const Time deadline = std::chrono::steady_clock::now() + milliseconds(1000);
  char buffer[16384];
  for (size_t thrown_away = 0; thrown_away < (size_t{4} << 20);) {
    const ssize_t got = ::recv(fd_, buffer, sizeof(buffer), 0);
    if (got == 0) break;
    if (got > 0) {
      thrown_away += static_cast<size_t>(got);
      continue;
    }
    if (errno == EINTR) continue;
    if ((errno != EAGAIN && errno != EWOULDBLOCK) || !WaitFor(POLLIN, deadline)) break;
  }
  failed_ = true;
}

namespace {

void DescribeAddress(const sockaddr_storage& address, std::string* ip, int* port) {
  char text[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &v4.sin_addr, text, sizeof(text));
    *port = ntohs(v4.sin_port);
  } else if (address.ss_family == AF_INET6) {
    const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
    inet_ntop(AF_INET6, &v6.sin6_addr, text, sizeof(text));
    *port = ntohs(v6.sin6_port);
  }
  *ip = text;
}

}  // namespace

void Connection::get_remote_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  if (getpeername(fd_, reinterpret_cast<sockaddr*>(&address), &size) == 0) DescribeAddress(address, &ip, &port);
}

void Connection::get_local_ip_and_port(std::string& ip, int& port) const {
  sockaddr_storage address = {};
  socklen_t size = sizeof(address);
  if (getsockname(fd_, reinterpret_cast<sockaddr*>(&address), &size) == 0) DescribeAddress(address, &ip, &port);
}

}  // namespace nosa::server
