#include "server/connection_threads.h"

#include <system_error>

namespace nosa::server {
namespace {

thread_local bool refusing_here = false;

void Refuse(const std::function<void()>& serve) {
  refusing_here = true;
  serve();
  refusing_here = false;
}

}  // namespace

bool ConnectionThreads::refusing() { return refusing_here; }

void ConnectionThreads::JoinFinished(bool all) {
  std::list<Worker> finished;
  {
    const std::lock_guard lock(mutex_);
    for (auto worker = workers_.begin(); worker != workers_.end();) {
      const auto next = std::next(worker);
      if (all || worker->done) finished.splice(finished.end(), workers_, worker);
      worker = next;
    }
  }
  for (Worker& worker : finished) worker.thread.join();
}

void ConnectionThreads::enqueue(std::function<void()> serve) {
  JoinFinished(/*all=*/false);
  Worker* worker = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (workers_.size() < static_cast<size_t>(most_)) worker = &workers_.emplace_back();
  }
  if (worker == nullptr) return Refuse(serve);
  try {
    worker->thread = std::thread([this, worker, serve] {
      serve();
      const std::lock_guard lock(mutex_);
      worker->done = true;
    });
  } catch (const std::system_error&) {  // the system has no thread left
    {
      const std::lock_guard lock(mutex_);
      workers_.remove_if([worker](const Worker& w) { return &w == worker; });
    }
    Refuse(serve);
  }
}

void ConnectionThreads::shutdown() { JoinFinished(/*all=*/true); }

}  // namespace nosa::server
