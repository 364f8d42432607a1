#include "base/parallel.h"

#include <sched.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <fstream>
#include <mutex>
#include <string>
#include <system_error>
#include <thread>
#include <vector>

#include "base/check.h"

namespace nosa {
namespace {

// A decode step forks some hundred times a few tens of microseconds apart; waking a sleeping thread
// costs as much as the work. So a thread polls this long before it sleeps.
constexpr std::chrono::microseconds kSpin(50);
// Polls between two looks at the clock (a pause takes 10 to 140 cycles, by the processor's age).
constexpr int kPollsPerLook = 32;

inline void CpuRelax() {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Polls until `done()` or for kSpin; returns whether it is done.
template <typename Done>
bool Spin(const Done& done) {
  const auto give_up = std::chrono::steady_clock::now() + kSpin;
  do {
    for (int i = 0; i < kPollsPerLook; ++i) {
      if (done()) return true;
      CpuRelax();
    }
  } while (std::chrono::steady_clock::now() < give_up);
  return done();
}

}  // namespace

struct ThreadPool::Impl {
  const int threads;
  const bool spin;  // polling steals the processor of a thread that has work when there are too few
  std::vector<std::thread> workers;

  std::mutex mutex;  // orders changes of `generation` and `running` to 0 with the decision to sleep
  std::condition_variable wake, joined;
  std::atomic<uint64_t> generation{0};  // bumped once per fork; workers wait for it to change
  std::atomic<int> running{0};          // workers that have not finished the current fork
  std::atomic<bool> busy{false};        // a fork is running: guards against reentrance and a second caller
  // Both are written before a bump of `generation` (release) and read after seeing it (acquire).
  bool stop = false;
  const FunctionRef<void(int)>* body = nullptr;

  explicit Impl(int n) : threads(n), spin(n <= AvailableProcessors()) {
    try {
      for (int i = 1; i < n; ++i) workers.emplace_back([this, i] { Work(i); });
    } catch (const std::system_error& error) {
      NOSA_CHECK(false, "the system refused thread {} of {}: {}", workers.size() + 2, n, error.what());
    }
  }

  ~Impl() {
    {
      std::lock_guard lock(mutex);
      stop = true;
      generation.fetch_add(1, std::memory_order_release);
    }
    wake.notify_all();
    for (std::thread& worker : workers) worker.join();
  }

  void Work(int thread) {
    uint64_t seen = 0;  // forks this thread has served; one that came before the thread ran counts as new
    for (;;) {
      const auto forked = [&] { return generation.load(std::memory_order_acquire) != seen; };
      if (!spin || !Spin(forked)) {
        std::unique_lock lock(mutex);
        wake.wait(lock, forked);
      }
      ++seen;  // never more than one behind: a fork ends only when every worker has served it
      if (stop) return;
      (*body)(thread);
      // acq_rel: the caller that sees 0 sees what every worker wrote.
      if (running.fetch_sub(1, std::memory_order_acq_rel) == 1 && !spin) {
        { std::lock_guard lock(mutex); }  // the caller is either before its check or asleep
        joined.notify_one();
      }
    }
  }

  // noexcept: a body that throws would leave workers with a dangling `body`.
  void Run(const FunctionRef<void(int)>& f) noexcept {
    body = &f;
    running.store(threads - 1, std::memory_order_relaxed);  // published by the bump below
    {
      std::lock_guard lock(mutex);
      generation.fetch_add(1, std::memory_order_release);
    }
    wake.notify_all();
    f(0);
    const auto finished = [&] { return running.load(std::memory_order_acquire) == 0; };
    if (spin) {
      // Parts of one fork end close together, and on a loaded machine a yield lets the late one run.
      while (!Spin(finished)) std::this_thread::yield();
    } else {
      std::unique_lock lock(mutex);
      joined.wait(lock, finished);
    }
  }
};

namespace {

// Holds `busy` for the length of one call.
class CallGuard {
 public:
  explicit CallGuard(std::atomic<bool>* busy) : busy_(busy) {
    NOSA_CHECK(!busy_->exchange(true, std::memory_order_acquire),
               "a thread pool was called from inside a parallel body, or by two callers at once");
  }
  ~CallGuard() { busy_->store(false, std::memory_order_release); }
  CallGuard(const CallGuard&) = delete;
  CallGuard& operator=(const CallGuard&) = delete;

 private:
  std::atomic<bool>* busy_;
};

}  // namespace

ThreadPool::ThreadPool(int threads) : impl_(std::make_unique<Impl>(std::max(threads, 1))) {}
ThreadPool::~ThreadPool() = default;

int ThreadPool::size() const { return impl_->threads; }

void ThreadPool::RunOnAll(FunctionRef<void(int)> body) {
  const CallGuard guard(&impl_->busy);
  if (impl_->threads == 1) {
    body(0);
  } else {
    impl_->Run(body);
  }
}

void ThreadPool::ParallelFor(int64_t n, int64_t grain, FunctionRef<void(int64_t, int64_t, int)> body) {
  const CallGuard guard(&impl_->busy);
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

namespace {

// Whole processors a container may keep busy (`docker run --cpus=2`): cgroup v2 says "quota period", or
// "max period" for no limit. 0 when there is none or none can be read.
int CgroupProcessors() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  double quota = 0, period = 0;
  if (!(file >> quota >> period) || quota <= 0 || period <= 0) return 0;
  return std::max(1, static_cast<int>(quota / period + 0.5));
}

}  // namespace

int AvailableProcessors() {
  int count = static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  cpu_set_t set;
  // Fails on a machine with more processors than the set has bits.
  if (sched_getaffinity(0, sizeof(set), &set) == 0) count = std::max(1, CPU_COUNT(&set));
  const int limit = CgroupProcessors();
  return limit == 0 ? count : std::min(count, limit);
}

}  // namespace nosa
