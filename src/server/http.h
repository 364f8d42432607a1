// One HTTP exchange as handlers see it: plain data, no sockets and no HTTP library, so that a handler can be called
// from a test. http_server.h carries it over connections.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace nosa::server {

struct HttpRequest {
  std::string method;                          // "GET", "POST"; HEAD comes as GET
  std::string path;                            // percent-decoded, without the query
  std::string tail;                            // what stands for {name} in the route's path
  std::map<std::string, std::string> query;    // percent-decoded; of a repeated name the first
  std::map<std::string, std::string> headers;  // names in lower case; of a repeated name the first
  std::string body;
  std::string tenant;  // name of the API key; "" without keys
  // Whether the client still waits. Costs a system call. Never null.
  std::function<bool()> alive = [] { return true; };

  // "" when it is absent.
  std::string_view Header(const std::string& name) const {
    const auto it = headers.find(name);
    return it == headers.end() ? std::string_view() : std::string_view(it->second);
  }
  std::string_view Query(const std::string& name) const {
    const auto it = query.find(name);
    return it == query.end() ? std::string_view() : std::string_view(it->second);
  }
};

// A reply's body while it is being sent.
class BodyWriter {
 public:
  virtual ~BodyWriter() = default;
  // Waits while the client is slow. False: it is gone, or was too slow; nothing more can be sent.
  virtual bool Write(std::string_view bytes) = 0;
  // Whether the client still waits. Costs a system call.
  virtual bool Alive() = 0;
  // HttpReply::note, when it is known.
  virtual void Note(std::string note) = 0;
};

struct HttpReply {
  int status = 200;
  std::string content_type = "application/json";
  std::vector<std::pair<std::string, std::string>> headers = {};
  std::string body = {};
  // Set: makes the body, in place of `body`, on the connection's thread. What it owns is destroyed when it returns or
  // the client is gone.
  std::function<void(BodyWriter&)> stream = nullptr;
  // For the access log: what was done, "34 + 128 tokens".
  std::string note = {};
};

}  // namespace nosa::server
