// Parts of the service (service.h): what waits for one reader, and how fast tokens come.
#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <utility>

#include "engine/service.h"

namespace nosa::engine {

// What it takes in memory, about.
inline uint64_t BytesOf(const PositionLogprobs& p) { return sizeof(p) + p.top.size() * sizeof(TokenLogprob); }

inline uint64_t BytesOf(const AnswerEvent& event) {
  uint64_t bytes = sizeof(event) + event.text.size();
  for (const PositionLogprobs& p : event.prompt_logprobs) bytes += BytesOf(p);
  return bytes + (event.logprobs ? BytesOf(*event.logprobs) : 0);
}

// Events on their way to one reader. Every call and field under the service's mutex.
struct Mailbox {
  std::deque<AnswerEvent> events;
  uint64_t bytes = 0;
  bool finished = false;   // kFinished was put in
  bool abandoned = false;  // nobody will read
  std::condition_variable ready;

  void Put(AnswerEvent event) {
    finished = finished || event.kind == AnswerEvent::Kind::kFinished;
    if (abandoned) return;
    const bool replaces = event.kind == AnswerEvent::Kind::kQueued || event.kind == AnswerEvent::Kind::kProgress;
    if (replaces && !events.empty() && events.back().kind == event.kind) {
      events.back() = std::move(event);
    } else {
      bytes += BytesOf(event);
      events.push_back(std::move(event));
    }
    ready.notify_all();
  }
  AnswerEvent Take() {
    AnswerEvent event = std::move(events.front());
    events.pop_front();
    bytes -= BytesOf(event);
    return event;
  }
};

// Tokens per second, over the last few.
class RateMeter {
 public:
  void Add(uint64_t total, double now) {
    if (!samples_.empty() && now - samples_.back().first < kSampleSeconds) return;
    samples_.push_back({now, total});
    while (samples_.size() > 1 && now - samples_[1].first > kRateSeconds) samples_.pop_front();
  }
  double Rate(uint64_t total, double now) const {
    for (const auto& [at, then] : samples_) {
      if (now - at <= kRateSeconds && now > at) return static_cast<double>(total - then) / std::max(1.0, now - at);
    }
    return 0;
  }

 private:
  static constexpr double kRateSeconds = 5;
  static constexpr double kSampleSeconds = 0.1;

  std::deque<std::pair<double, uint64_t>> samples_;  // when, and the total then
};

}  // namespace nosa::engine
