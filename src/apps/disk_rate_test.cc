#include "apps/disk_rate.h"

#include <gtest/gtest.h>

#include "base/bytes.h"

namespace nosa::apps {
namespace {

TEST(DiskRate, ReadsTheWholeFileInEveryPass) {
  const Result<DiskRate> rate = MeasureDiskRate({testing::TempDir(), 0}, 50 * kMiB, 3);
  ASSERT_TRUE(rate.ok()) << rate.status().ToString();
  EXPECT_EQ(rate->bytes, 48 * kMiB);  // whole requests
  ASSERT_EQ(rate->seconds.size(), 3u);
  for (const double seconds : rate->seconds) EXPECT_GT(seconds, 0);
}

TEST(DiskRate, KeepsToTheCapacity) {
  const Result<DiskRate> rate = MeasureDiskRate({testing::TempDir(), 9 * kMiB}, 64 * kMiB, 1);
  ASSERT_TRUE(rate.ok()) << rate.status().ToString();
  EXPECT_EQ(rate->bytes, 8 * kMiB);
}

TEST(DiskRate, SaysWhatIsTooSmallOrMissing) {
  EXPECT_EQ(MeasureDiskRate({testing::TempDir(), kMiB}, 64 * kMiB, 1).status().code(), StatusCode::kInvalidArgument);
  EXPECT_FALSE(MeasureDiskRate({testing::TempDir() + "/nowhere", 0}, 64 * kMiB, 1).ok());
}

}  // namespace
}  // namespace nosa::apps
