// Asks a server's /metrics ten times a second, on a thread of its own, for load_run.cc.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "apps/load_run.h"
#include "server/load_client.h"

namespace nosa::apps {

struct ServerSample {
  double at = 0;  // seconds of Now() in base/clock.h
  int queued = 0, reading = 0, answering = 0;
  double host = 0, host_budget = 0, cold = 0, rss = 0;  // bytes
};

// What a text of /metrics says; nothing when it is not nosa's.
std::optional<ServerSample> SampleOf(std::string_view metrics);
// Of the samples within [from, to], which rise in time.
ServerWatch WatchOf(const std::vector<ServerSample>& samples, double from, double to);

// Any thread.
class ServerWatcher {
 public:
  // Fails as LoadClient::Create.
  static Result<std::unique_ptr<ServerWatcher>> Create(const std::string& url);
  ~ServerWatcher();
  // Nothing until the first has come.
  std::optional<ServerSample> Last() const;
  // None when the server has no such metrics.
  std::optional<ServerWatch> Between(double from, double to) const;

 private:
  explicit ServerWatcher(std::unique_ptr<server::LoadClient> client);
  void Run();

  std::unique_ptr<server::LoadClient> client_;
  mutable std::mutex mutex_;
  std::vector<ServerSample> samples_;
  int missed_ = 0;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace nosa::apps
