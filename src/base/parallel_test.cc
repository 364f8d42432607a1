#include "base/parallel.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <numeric>
#include <thread>
#include <vector>

namespace nosa {
namespace {

// One, the machine's own (threads poll), and many more than it has (threads sleep).
std::vector<int> PoolSizes() { return {1, 2, 3, std::min(AvailableProcessors(), 8), AvailableProcessors() + 3}; }

TEST(ThreadPool, RangesCoverEachIndexOnceAndAreNoLongerThanTheGrain) {
  for (const int threads : PoolSizes()) {
    ThreadPool pool(threads);
    ASSERT_EQ(pool.size(), threads);
    for (const int64_t n : {0, 1, 63, 64, 65, 1000}) {
      for (const int64_t grain : {1, 7, 64, 5000}) {
        std::vector<std::atomic<int>> hits(static_cast<size_t>(n));
        std::atomic<int> bad{0};
        pool.ParallelFor(n, grain, [&](int64_t begin, int64_t end, int thread) {
          if (begin >= end || end - begin > grain || begin % grain != 0) ++bad;
          if (thread < 0 || thread >= threads) ++bad;
          for (int64_t i = begin; i < end; ++i) ++hits[static_cast<size_t>(i)];
        });
        EXPECT_EQ(bad, 0);
        EXPECT_TRUE(std::all_of(hits.begin(), hits.end(), [](const auto& h) { return h == 1; }))
            << threads << " threads, n " << n << ", grain " << grain;
      }
    }
  }
}

TEST(ThreadPool, AGrainOrLengthThatMakesNoSenseIsHarmless) {
  ThreadPool pool(2);
  int64_t sum = 0;
  pool.ParallelFor(-5, 1, [&](int64_t, int64_t, int) { sum = -1; });
  pool.ParallelFor(1, 0, [&](int64_t begin, int64_t end, int) { sum += end - begin; });
  pool.ParallelFor(3, INT64_MAX, [&](int64_t begin, int64_t end, int) { sum += end - begin; });
  EXPECT_EQ(sum, 4);
  EXPECT_EQ(ThreadPool(0).size(), 1);
  EXPECT_EQ(ThreadPool(-4).size(), 1);
}

// Under the thread sanitizer the unguarded scratch is the test.
TEST(ThreadPool, AThreadIndexIsNeverUsedTwiceAtOnce) {
  for (const int threads : PoolSizes()) {
    ThreadPool pool(threads);
    std::vector<int64_t> scratch(static_cast<size_t>(threads), 0);
    std::vector<std::atomic<bool>> inside(static_cast<size_t>(threads));
    std::atomic<int> overlaps{0};
    pool.ParallelFor(20000, 3, [&](int64_t begin, int64_t end, int thread) {
      const auto t = static_cast<size_t>(thread);
      if (inside[t].exchange(true)) ++overlaps;
      scratch[t] += end - begin;
      inside[t] = false;
    });
    EXPECT_EQ(overlaps, 0);
    EXPECT_EQ(std::accumulate(scratch.begin(), scratch.end(), int64_t{0}), 20000);
  }
}

TEST(ThreadPool, RunOnAllRunsEveryThreadAtTheSameTime) {
  for (const int threads : PoolSizes()) {
    ThreadPool pool(threads);
    std::vector<int> calls(static_cast<size_t>(threads), 0);
    std::atomic<int> arrived{0};
    pool.RunOnAll([&](int thread) {
      ++calls[static_cast<size_t>(thread)];
      ++arrived;
      while (arrived < threads) std::this_thread::yield();  // a barrier: hangs unless all are in the body
    });
    EXPECT_EQ(calls, std::vector<int>(static_cast<size_t>(threads), 1));
  }
}

// What one fork writes, the caller and the next fork read, without any atomics of their own.
TEST(ThreadPool, TwentyThousandForksLoseNothing) {
  for (const int threads : {2, AvailableProcessors() + 1}) {
    ThreadPool pool(threads);
    std::vector<int64_t> data(64, 0);
    constexpr int kForks = 20000;
    for (int fork = 0; fork < kForks; ++fork) {
      pool.ParallelFor(64, 8, [&](int64_t begin, int64_t end, int) {
        for (int64_t i = begin; i < end; ++i) data[static_cast<size_t>(i)] += i;
      });
      data[static_cast<size_t>(fork % 64)] += 1;
    }
    for (size_t i = 0; i < 64; ++i) {
      const int64_t own = kForks / 64 + (i < kForks % 64 ? 1 : 0);
      ASSERT_EQ(data[i], static_cast<int64_t>(i) * kForks + own) << threads << " threads";
    }
  }
}

TEST(ThreadPool, WakesWorkersThatHaveGoneToSleep) {
  ThreadPool pool(2);
  for (int round = 0; round < 20; ++round) {
    std::this_thread::sleep_for(std::chrono::milliseconds(2));
    std::atomic<int> arrived{0};
    pool.RunOnAll([&](int) {
      ++arrived;
      while (arrived < 2) std::this_thread::yield();
    });
  }
}

TEST(ThreadPool, StartsAndStopsWithAndWithoutWork) {
  for (int round = 0; round < 200; ++round) {
    ThreadPool pool(1 + round % 5);
    std::atomic<int> sum{0};
    for (int fork = 0; fork < round % 3; ++fork) pool.RunOnAll([&](int) { ++sum; });
    EXPECT_EQ(sum, pool.size() * (round % 3));
  }
}

TEST(ThreadPoolDeathTest, ReentranceIsFoundInAPoolOfAnySize) {
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  for (const int threads : {1, 2}) {
    EXPECT_DEATH(
        {
          ThreadPool pool(threads);
          pool.ParallelFor(1, 1, [&](int64_t, int64_t, int) { pool.RunOnAll([](int) {}); });
        },
        "from inside a parallel body");
  }
}

TEST(AvailableProcessors, IsPositiveAndNoMoreThanThereAre) {
  EXPECT_GE(AvailableProcessors(), 1);
  EXPECT_LE(AvailableProcessors(), sysconf(_SC_NPROCESSORS_CONF));
}

}  // namespace
}  // namespace nosa
