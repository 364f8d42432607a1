// A thread for every open connection, up to a bound. Private to http_server.cc.
#pragma once

#include <httplib.h>

#include <functional>
#include <list>
#include <mutex>
#include <thread>

namespace nosa::server {

// httplib hands each accepted connection to enqueue, on its accepting thread.
class ConnectionThreads final : public httplib::TaskQueue {
 public:
  explicit ConnectionThreads(int most) : most_(most) {}
  ~ConnectionThreads() override { shutdown(); }

  // Over the bound, `serve` runs at once on the caller's thread, where refusing() is true: it must not wait.
  void enqueue(std::function<void()> serve) override;
  // Returns when all threads have ended.
  void shutdown() override;

  static bool refusing();

 private:
  struct Worker {
    std::thread thread;
    bool done = false;  // under mutex_; its thread only has to be joined
  };
  void JoinFinished(bool all);

  const int most_;
  std::mutex mutex_;
  std::list<Worker> workers_;
};

}  // namespace nosa::server
