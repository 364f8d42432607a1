// Times single ops on a backend, for nosa bench ops.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "apps/bench.h"
#include "apps/bench_device_ops.h"
#include "base/clock.h"

namespace nosa::apps {

class OpTimer {
 public:
  OpTimer(ops::Backend& backend, int repeats) : backend_(backend), repeats_(repeats) {}

 protected:
  Result<Buffer> ToDevice(const void* data, size_t bytes) {
    NOSA_ASSIGN_OR_RETURN(Buffer buffer, backend_.Allocate(bytes, backend_.compute_memory()));
    backend_.Copy(buffer.data(), data, bytes, {});
    backend_.Synchronize({});
    return buffer;
  }
  Result<Buffer> ToDevice(const Buffer& host) { return ToDevice(host.data(), host.size()); }
  Result<Buffer> ToHost(const void* data, size_t bytes) {
    Buffer host = Buffer::Host(bytes);
    backend_.Copy(host.data(), data, bytes, {});
    backend_.Synchronize({});
    return host;
  }

  // Calls are given one after the other and waited for together, as layers do; enough of them that waiting costs
  // nothing.
  Status Time(std::string name, double bytes, double flops, const std::function<void()>& run) {
    run();
    backend_.Synchronize({});
    const Stopwatch once;
    run();
    backend_.Synchronize({});
    constexpr double kSecondsOfRepeat = 0.05;
    const int calls = std::clamp(static_cast<int>(kSecondsOfRepeat / once.Seconds()), 1, 1000);
    std::vector<double> seconds;
    for (int i = 0; i < repeats_; ++i) {
      const Stopwatch watch;
      for (int c = 0; c < calls; ++c) run();
      backend_.Synchronize({});
      seconds.push_back(watch.Seconds() / calls);
    }
    rows_.push_back({std::move(name), SpreadOf(seconds), bytes, flops});
    return CheckMeasured(rows_.back().seconds.median, rows_.back().name);
  }

  ops::Backend& backend_;
  std::vector<DeviceOpRow> rows_;

 private:
  int repeats_;
};

}  // namespace nosa::apps
