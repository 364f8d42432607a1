// What one connection may cost.
#pragma once

#include <chrono>
#include <cstddef>

namespace nosa::server {

struct HttpLimits {
  size_t head_bytes = 32 << 10;  // request line and headers
  int header_lines = 100;
  size_t body_bytes = size_t{16} << 20;  // a prompt of a million tokens takes some 6 MB as ids
  size_t all_bodies_bytes =
      size_t{128} << 20;  // of requests being answered; as JSON values they take up to 8 times as much
  int connections = 256;  // open at once, each with a thread; more are told to come back
  // Connections of these that requests for answers never take: with all others streaming, /health, /metrics and
  // /v1/models are still answered.
  int reserved_connections = 32;
  int requests_per_connection = 1000;
  std::chrono::milliseconds idle{60'000};   // between requests of a connection
  std::chrono::milliseconds head{10'000};   // from the first byte of a head to its last
  std::chrono::milliseconds body{120'000};  // for a whole body
  std::chrono::milliseconds write{30'000};  // while a client takes nothing
};

}  // namespace nosa::server
