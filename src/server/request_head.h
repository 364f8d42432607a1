// The head of a request, checked before an HTTP library sees it: what is bounded, ambiguous or not wanted is decided
// here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "server/api_error.h"
#include "server/http_limits.h"

namespace nosa::server {

struct RequestHead {
  // The head as the library gets it, up to and with the empty line: without the headers that would have it compress
  // replies or cut them in ranges.
  std::string text;
  std::string host;    // of the header, without the port, in lower case
  std::string origin;  // of the header
  uint64_t content_length = 0;
  bool chunked = false;
  bool has_body() const { return chunked || content_length > 0; }
};

// `head`: up to and with the empty line. Refuses (400, 413, 414, 415, 431, 501) control characters, lines without a
// name, folded lines, two lengths, a length beside chunks, encodings of the body, too many lines, lines or bodies too
// long.
std::optional<ApiError> ParseHead(std::string_view head, const HttpLimits& limits, RequestHead* parsed);

// "localhost", 127.0.0.0/8 or ::1, in brackets or not.
bool IsLoopback(std::string_view host);
// The host of "scheme://host:port".
std::string_view HostOfOrigin(std::string_view origin);

}  // namespace nosa::server
