// A client for load tests: asks any server with OpenAI's API for streamed completions, and keeps when what came.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"

namespace nosa::server {

struct LoadRequest {
  std::string model;
  std::vector<TokenId> prompt;
  int max_tokens = 16;  // and so many come: the end token is ignored, where the server knows `ignore_eos`
};

// How a request ended, as its client saw it.
struct LoadAnswer {
  enum class End : uint8_t {
    kCompleted,
    kRefused,  // 429 or 503: come back later
    kFailed,   // anything else that is no whole answer
    kStopped,  // by LoadClient::Stop
  };
  End end = End::kFailed;
  Status error;                // refused and failed: why
  std::vector<double> pieces;  // when each piece of text came, seconds of Now() in base/clock.h
  // Of the usage at the stream's end; 0 without it.
  int prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
};

// The events of one answer, fed as the bytes come, cut anywhere.
class LoadAnswerReader {
 public:
  // `now`: when the bytes came.
  void Take(std::string_view bytes, double now);
  // After the last byte. `http_status`: 0 when there was no reply, and `transport` says why.
  LoadAnswer Finish(int http_status, const Status& transport);
  // Pieces of text so far.
  size_t pieces() const { return answer_.pieces.size(); }

 private:
  void TakeLine(std::string_view line, double now);

  std::string rest_;  // of a line that is not whole; all of it, up to a bound, where no events come
  bool done_ = false;
  Status error_;
  LoadAnswer answer_;
};

// Values of a text in Prometheus' format, by name with labels: {"nosa_requests{state=\"queued\"}", 3}. Comments and
// lines that are none of that format are left out.
std::map<std::string, double> MetricValues(std::string_view text);

// One connection at a time, a new one for each request. One thread; Stop is for any.
class LoadClient {
 public:
  // `url`: "http://HOST:PORT" (kInvalidArgument for others). `patience`: how long the server may say nothing.
  static Result<std::unique_ptr<LoadClient>> Create(const std::string& url, std::chrono::milliseconds patience);
  virtual ~LoadClient() = default;
  // Waits for the whole answer. `on_piece`: told after each piece of text how many there are; may be null.
  virtual LoadAnswer Complete(const LoadRequest& request, const std::function<void(size_t)>& on_piece) = 0;
  // The body of a reply with status 200; else kUnavailable with what came.
  virtual Result<std::string> Get(const std::string& path) = 0;
  // Ends the request that is running, and all that follow, as kStopped.
  virtual void Stop() = 0;
};

}  // namespace nosa::server
