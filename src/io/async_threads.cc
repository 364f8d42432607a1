#include <condition_variable>
#include <deque>
#include <mutex>
#include <system_error>
#include <thread>
#include <vector>

#include "io/async_backends.h"

namespace nosa::io::internal {
namespace {

class ThreadsIo final : public AsyncIo {
 public:
  ThreadsIo(std::string note, uint64_t max_chunk) : note_(std::move(note)), max_chunk_(max_chunk) {}

  ~ThreadsIo() override {
    {
      std::lock_guard lock(mutex_);
      stop_ = true;
    }
    work_.notify_all();
    for (std::thread& worker : workers_) worker.join();
  }

  // Fewer than asked for are enough to work with.
  Status Start(int threads) {
    workers_.reserve(static_cast<size_t>(threads));
    try {
      for (int i = 0; i < threads; ++i) workers_.emplace_back([this] { Work(); });
    } catch (const std::system_error& error) {
      if (workers_.empty()) return ResourceExhausted("cannot start a thread for file I/O: {}", error.what());
    }
    return Status::Ok();
  }

  std::string Describe() const override { return fmt::format("pread on {} threads{}", workers_.size(), note_); }

  void Submit(std::span<const AsyncRequest> requests) override {
    if (requests.empty()) return;
    in_flight_ += requests.size();
    {
      std::lock_guard lock(mutex_);
      for (const AsyncRequest& request : requests) queue_.push_back({.request = request, .max_chunk = max_chunk_});
    }
    work_.notify_all();
  }

  size_t Poll(std::span<AsyncCompletion> out, bool wait) override {
    if (in_flight_ == 0 || out.empty()) return 0;
    std::unique_lock lock(mutex_);
    if (wait) done_.wait(lock, [this] { return !finished_.empty(); });
    size_t n = 0;
    for (; n < out.size() && !finished_.empty(); ++n) {
      out[n] = std::move(finished_.front());
      finished_.pop_front();
    }
    in_flight_ -= n;
    return n;
  }

  size_t in_flight() const override { return in_flight_; }

 private:
  // Leaves only when the queue is empty: destruction finishes what was submitted.
  void Work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      work_.wait(lock, [this] { return stop_ || !queue_.empty(); });
      if (queue_.empty()) return;
      const Transfer transfer = queue_.front();
      queue_.pop_front();
      lock.unlock();
      Status status = RunBlocking(transfer);
      lock.lock();
      finished_.push_back({transfer.request.tag, std::move(status)});
      done_.notify_one();
    }
  }

  const std::string note_;
  const uint64_t max_chunk_;
  size_t in_flight_ = 0;  // the caller's thread only
  std::vector<std::thread> workers_;

  std::mutex mutex_;  // guards what follows
  std::condition_variable work_;
  std::condition_variable done_;
  std::deque<Transfer> queue_;
  std::deque<AsyncCompletion> finished_;
  bool stop_ = false;
};

}  // namespace

Result<std::unique_ptr<AsyncIo>> MakeThreadsIo(int threads, std::string note, uint64_t max_chunk) {
  auto io = std::make_unique<ThreadsIo>(std::move(note), max_chunk);
  NOSA_RETURN_IF_ERROR(io->Start(threads));
  return std::unique_ptr<AsyncIo>(std::move(io));
}

}  // namespace nosa::io::internal
