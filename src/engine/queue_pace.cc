#include "engine/queue_pace.h"

#include <algorithm>
#include <cmath>

namespace nosa::engine {

void QueuePace::Admitted(double now) {
  times_.push_back(now);
  if (times_.size() > kKept + 1) times_.pop_front();
}

double QueuePace::SecondsPerRequest(double now) const {
  if (times_.empty()) return 0;
  const auto admitted = static_cast<double>(times_.size() - 1);
  return std::max(0.0, now - times_.front()) / std::max(1.0, admitted);
}

std::chrono::milliseconds QueueRetryAfter(int queued, double seconds_per_request) {
  constexpr double kLeast = 1, kMost = 60;
  const double seconds = (queued / 2 + 1) * seconds_per_request;
  return std::chrono::milliseconds(static_cast<int64_t>(std::ceil(1000 * std::clamp(seconds, kLeast, kMost))));
}

}  // namespace nosa::engine
