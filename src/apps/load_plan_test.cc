#include "apps/load_plan.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

namespace nosa::apps {
namespace {

TEST(PercentileTest, OfFewAndMany) {
  EXPECT_EQ(Percentile({}, 0.5), 0);
  const double one[] = {7};
  for (const double p : {0.0, 0.5, 0.99, 1.0}) EXPECT_EQ(Percentile(one, p), 7);
  const double two[] = {1, 3};
  EXPECT_EQ(Percentile(two, 0), 1);
  EXPECT_EQ(Percentile(two, 0.5), 2);
  EXPECT_EQ(Percentile(two, 1), 3);
  std::vector<double> hundred;
  for (int i = 100; i >= 0; --i) hundred.push_back(i);
  const Percentiles found = PercentilesOf(hundred);
  EXPECT_DOUBLE_EQ(found.p50, 50);
  EXPECT_DOUBLE_EQ(found.p95, 95);
  EXPECT_DOUBLE_EQ(found.p99, 99);
}

TEST(MostAtOnceTest, Intervals) {
  using Interval = std::pair<double, double>;
  EXPECT_EQ(MostAtOnce({}), 0);
  const Interval apart[] = {{0, 1}, {2, 3}, {4, 5}};
  EXPECT_EQ(MostAtOnce(apart), 1);
  const Interval touching[] = {{1, 2}, {0, 1}};
  EXPECT_EQ(MostAtOnce(touching), 2);
  const Interval nested[] = {{0, 10}, {1, 2}, {3, 8}, {4, 5}, {6, 7}, {9, 9}};
  EXPECT_EQ(MostAtOnce(nested), 3);
}

TEST(LoadPlanTest, PoissonArrivals) {
  const LoadShape shape;
  const double rate = 20, seconds = 1000;
  const std::vector<PlannedRequest> arrivals = PoissonArrivals(shape, rate, seconds);
  // 20,000 expected; the standard deviation of a Poisson count is its root, and of its exponential gaps their mean.
  const double count = static_cast<double>(arrivals.size());
  EXPECT_NEAR(count, rate * seconds, 5 * std::sqrt(rate * seconds));
  double last = 0, sum = 0, squares = 0;
  int short_gaps = 0;
  for (const PlannedRequest& arrival : arrivals) {
    const double gap = arrival.at - last;
    ASSERT_GE(gap, 0);
    last = arrival.at;
    sum += gap;
    squares += gap * gap;
    short_gaps += gap < std::log(2) / rate;
  }
  EXPECT_LT(last, seconds);
  const double mean = sum / count;
  EXPECT_NEAR(std::sqrt(squares / count - mean * mean) / mean, 1, 0.05);
  EXPECT_NEAR(short_gaps / count, 0.5, 0.02);
}

TEST(LoadPlanTest, TheSeedSaysAll) {
  LoadShape shape = {.shared_tokens = 4};
  const auto a = PoissonArrivals(shape, 5, 20), b = PoissonArrivals(shape, 5, 20);
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    EXPECT_EQ(a[i].at, b[i].at);
    EXPECT_EQ(PromptOf(shape, a[i]), PromptOf(shape, b[i]));
    EXPECT_EQ(PlanRequest(shape, i).own_tokens, a[i].own_tokens);
  }
  shape.seed = 2;
  const auto other = PoissonArrivals(shape, 5, 20);
  EXPECT_NE(other.front().at, a.front().at);
  EXPECT_NE(PromptOf(shape, other.front()), PromptOf(shape, a.front()));
}

TEST(LoadPlanTest, LengthsAreLogUniform) {
  const LoadShape shape = {.shortest = 16, .longest = 1024};
  int below = 0, least = 1 << 30, most = 0;
  constexpr int kRequests = 20000;
  for (int i = 0; i < kRequests; ++i) {
    const int tokens = PlanRequest(shape, static_cast<uint64_t>(i)).own_tokens;
    least = std::min(least, tokens);
    most = std::max(most, tokens);
    below += tokens < 128;  // the geometric mean of both ends
  }
  EXPECT_EQ(least, 16);
  EXPECT_GT(most, 1000);
  EXPECT_LE(most, 1024);
  EXPECT_NEAR(static_cast<double>(below) / kRequests, 0.5, 0.02);
  const LoadShape one = {.shortest = 7, .longest = 7};
  for (uint64_t i = 0; i < 100; ++i) EXPECT_EQ(PlanRequest(one, i).own_tokens, 7);
}

TEST(LoadPlanTest, GroupsShareBeginnings) {
  const LoadShape shape = {.shortest = 8, .longest = 8, .shared_tokens = 32, .groups = 3, .vocabulary = 50};
  std::set<std::vector<TokenId>> beginnings, ends;
  constexpr uint64_t kRequests = 60;
  for (uint64_t i = 0; i < kRequests; ++i) {
    const PlannedRequest request = PlanRequest(shape, i);
    const std::vector<TokenId> ids = PromptOf(shape, request);
    ASSERT_EQ(ids.size(), 40u);
    for (const TokenId id : ids) ASSERT_LT(id, 50);
    beginnings.insert({ids.begin(), ids.begin() + 32});
    ends.insert({ids.begin() + 32, ids.end()});
  }
  EXPECT_EQ(beginnings.size(), 3u);
  EXPECT_EQ(ends.size(), kRequests);
}

}  // namespace
}  // namespace nosa::apps
