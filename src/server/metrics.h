// What the server counts, in Prometheus' text format (version 0.0.4).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <mutex>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "engine/service.h"

namespace nosa::server {

// One text of metrics as it is written: families one after the other, samples of a family together.
class MetricsText {
 public:
  using Labels = std::span<const std::pair<std::string_view, std::string_view>>;

  // `type`: "counter", "gauge" or "histogram".
  void Family(std::string_view name, std::string_view type, std::string_view help);
  // A sample of the family begun last; `suffix`: "_bucket", or nothing. Label values may hold any text.
  void Sample(double value, Labels labels = {}, std::string_view suffix = "");
  std::string Take() { return std::move(text_); }

 private:
  std::string text_, name_;
};

// Counts of seconds below bounds that double from 1 ms. Thread-safe.
class SecondsHistogram {
 public:
  void Observe(double seconds);
  void Write(MetricsText* text) const;

 private:
  static constexpr int kBounds = 18;  // up to 131 s
  static double Bound(int i) { return 0.001 * static_cast<double>(int64_t{1} << i); }

  std::array<std::atomic<uint64_t>, kBounds + 1> counts_ = {};  // the last: above all bounds
  std::atomic<double> sum_ = 0;
};

// Thread-safe.
struct ServerMetrics {
  SecondsHistogram http_seconds;                  // of replies, whole
  SecondsHistogram queue_seconds;                 // from a request's arrival to its prompt's first chunk
  SecondsHistogram first_token_seconds;           // from its arrival to its first token
  SecondsHistogram token_gap_seconds;             // between two tokens of an answer
  std::atomic<uint64_t> connections = 0;          // open now
  std::atomic<uint64_t> connections_refused = 0;  // there were too many
  std::atomic<uint64_t> requests_malformed = 0;   // not HTTP, too long a head, too slow
  std::atomic<uint64_t> disconnects = 0;          // of clients that had an answer to come

  // `route`: as the route table has it, so that no client can make labels.
  void CountReply(std::string_view route, int status);
  std::string Write(const engine::ServiceStats& stats) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::pair<std::string, int>, uint64_t> replies_;
};

}  // namespace nosa::server
