#include "engine/queue_pace.h"

#include <gtest/gtest.h>

#include <limits>

namespace nosa::engine {
namespace {

TEST(QueuePaceTest, IsTheMeanOfTheLastAdmissionsAndTheTimeSince) {
  QueuePace pace;
  EXPECT_EQ(pace.SecondsPerRequest(5), 0);
  pace.Begin(10);
  EXPECT_EQ(pace.SecondsPerRequest(10), 0);
  EXPECT_EQ(pace.SecondsPerRequest(13), 3) << "none has begun";
  pace.Admitted(14);
  EXPECT_EQ(pace.SecondsPerRequest(14), 4);
  pace.Admitted(16);
  EXPECT_EQ(pace.SecondsPerRequest(16), 3);
  EXPECT_EQ(pace.SecondsPerRequest(20), 5) << "it stands still";
  for (int i = 1; i <= 32; ++i) pace.Admitted(20 + 0.5 * i);
  EXPECT_NEAR(pace.SecondsPerRequest(36), 20.0 / 32, 1e-9) << "from 16 on";
  pace.Admitted(36.5);
  EXPECT_NEAR(pace.SecondsPerRequest(36.5), 16.0 / 32, 1e-9) << "what was slow is forgotten";
  pace.Begin(1000);
  EXPECT_EQ(pace.SecondsPerRequest(1001), 1) << "the hours without a queue do not count";
}

TEST(QueuePaceTest, WhoIsRefusedComesBackWhenHalfHasBegun) {
  EXPECT_EQ(QueueRetryAfter(10, 2).count(), 12000);
  EXPECT_EQ(QueueRetryAfter(11, 2).count(), 12000);
  EXPECT_EQ(QueueRetryAfter(0, 2.5).count(), 2500);
  EXPECT_EQ(QueueRetryAfter(4, 0.5001).count(), 1501) << "rounded up";
  // Within its bounds, whatever was measured.
  EXPECT_EQ(QueueRetryAfter(1024, 0).count(), 1000);
  EXPECT_EQ(QueueRetryAfter(1024, 0.001).count(), 1000);
  EXPECT_EQ(QueueRetryAfter(1024, 10).count(), 60000);
  EXPECT_EQ(QueueRetryAfter(std::numeric_limits<int>::max(), 1e300).count(), 60000);
  // More that wait, or a slower pace, never shorten it.
  for (int queued = 0; queued < 200; ++queued) {
    EXPECT_LE(QueueRetryAfter(queued, 0.3), QueueRetryAfter(queued + 1, 0.3));
    EXPECT_LE(QueueRetryAfter(queued, 0.01 * queued), QueueRetryAfter(queued, 0.01 * queued + 0.01));
  }
}

}  // namespace
}  // namespace nosa::engine
