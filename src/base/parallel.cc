#include "base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "base/check.h"

namespace nosa {
namespace {

// A decode step forks some hundred times a few tens of microseconds apart; waking a sleeping thread
// costs as much as the work. So a worker spins this many polls (about 50 us) before it sleeps.
constexpr int kSpinPolls = 4000;

inline void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

}  // namespace

struct ThreadPool::Impl {
  int threads;
  std::vector<std::thread> workers;

  std::mutex mutex;
  std::condition_variable wake;
  std::atomic<uint64_t> generation{0};  // bumped once per fork; workers wait for it to change
  std::atomic<int> running{0};          // workers that have not finished the current fork
  std::atomic<bool> stop{false};
  bool busy = false;  // guards against reentrance; touched by the caller only

  const FunctionRef<void(int)>* body = nullptr;

  explicit Impl(int n) : threads(n) {
    for (int i = 1; i < n; ++i) workers.emplace_back([this, i] { Work(i); });
  }

  ~Impl() {
    {
      std::lock_guard lock(mutex);
      stop.store(true);
      generation.fetch_add(1);
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void Work(int thread) {
    uint64_t seen = 0;
    for (;;) {
      for (int spin = 0; spin < kSpinPolls && generation.load(std::memory_order_acquire) == seen; ++spin) CpuRelax();
      if (generation.load(std::memory_order_acquire) == seen) {
        std::unique_lock lock(mutex);
        wake.wait(lock, [&] { return generation.load(std::memory_order_acquire) != seen; });
      }
      seen = generation.load(std::memory_order_acquire);
      if (stop.load()) return;
      (*body)(thread);
      running.fetch_sub(1, std::memory_order_release);
    }
  }

  void Run(const FunctionRef<void(int)>& f) {
    NOSA_CHECK(!busy, "a parallel body started another one");
    busy = true;
    body = &f;
    running.store(threads - 1, std::memory_order_relaxed);
    {
      std::lock_guard lock(mutex);
      generation.fetch_add(1, std::memory_order_release);
    }
    wake.notify_all();
    f(0);
    int spin = 0;
    while (running.load(std::memory_order_acquire) != 0) {
      if (++spin < kSpinPolls) {
        CpuRelax();
      } else {
        std::this_thread::yield();  // on a machine with fewer free cores than threads, let them run
      }
    }
    busy = false;
  }
};

ThreadPool::ThreadPool(int threads) : impl_(std::make_unique<Impl>(std::max(threads, 1))) {}
ThreadPool::~ThreadPool() = default;

int ThreadPool::size() const { return impl_->threads; }

void ThreadPool::RunOnAll(FunctionRef<void(int)> body) {
  if (impl_->threads == 1) {
    body(0);
  } else {
    impl_->Run(body);
  }
}

void ThreadPool::ParallelFor(int64_t n, int64_t grain, FunctionRef<void(int64_t, int64_t, int)> body) {
  grain = std::max<int64_t>(grain, 1);
  if (n <= 0) return;
  if (impl_->threads == 1 || n <= grain) {
    for (int64_t begin = 0; begin < n; begin += grain) body(begin, std::min(begin + grain, n), 0);
    return;
  }
  std::atomic<int64_t> next{0};
  impl_->Run([&](int thread) {
    for (;;) {
      const int64_t begin = next.fetch_add(grain, std::memory_order_relaxed);
      if (begin >= n) return;
      body(begin, std::min(begin + grain, n), thread);
    }
  });
}

int AvailableProcessors() {
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) == 0) return std::max(1, CPU_COUNT(&set));
  return static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
}

}  // namespace nosa
