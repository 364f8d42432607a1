// How fast a queue moves, and so when to come back for who found it full.
#pragma once

#include <chrono>
#include <cstddef>
#include <deque>

namespace nosa::engine {

// Times are seconds of any clock that never goes back. Plain data, not thread-safe.
class QueuePace {
 public:
  // Somebody waits and nobody did: what was before says nothing of how fast those that wait begin.
  void Begin(double now) { times_ = {now}; }
  // One of those that wait has begun.
  void Admitted(double now);
  // Seconds between two that begin, as a mean over the last ones and the time since; while none has begun, that time
  // alone. 0: nobody has waited yet.
  double SecondsPerRequest(double now) const;

 private:
  // Enough for a mean when answers differ in length, few enough to follow a change of the load.
  static constexpr size_t kKept = 32;

  std::deque<double> times_;  // when the queue began or an older one was admitted; then one an admission
};

// After how long who was refused by a queue of `queued` requests is to ask again, where one of them begins every
// `seconds_per_request`: when half of them will have begun. Sooner, most would be refused again; later, the queue could
// run empty while they stay away. From one second, the header's least, to a minute, after which the pace has changed.
std::chrono::milliseconds QueueRetryAfter(int queued, double seconds_per_request);

}  // namespace nosa::engine
