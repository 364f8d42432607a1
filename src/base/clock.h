// Time as data: code that decides by time takes a Clock, so that tests can move it.
#pragma once

#include <chrono>

namespace nosa {

class Clock {
 public:
  virtual ~Clock() = default;
  // Seconds since an arbitrary start; never goes back. Thread-safe.
  virtual double Now() const = 0;
};

class SteadyClock final : public Clock {
 public:
  double Now() const override {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
  }
};

// Wall time since construction, in seconds.
class Stopwatch {
 public:
  Stopwatch() : start_(clock_.Now()) {}
  double Seconds() const { return clock_.Now() - start_; }
  void Restart() { start_ = clock_.Now(); }

 private:
  SteadyClock clock_;
  double start_;
};

}  // namespace nosa
