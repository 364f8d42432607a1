#include "faulty_tier.h"

#include <gtest/gtest.h>

#include <bit>
#include <numeric>

namespace nosa::kv {
namespace {

constexpr uint64_t kPage = 1024;
constexpr int kPages = 400;

std::unique_ptr<Tier> MemoryOf(uint64_t bytes) {
  TierOptions options;
  options.capacity_bytes = bytes;
  return MakeTier("memory", options).value();
}

struct Faulty {
  explicit Faulty(const FaultPlan& plan, uint64_t seed = 1)
      : tier(MemoryOf(kPages * kPage), seed, plan), data(kPage), out(kPage) {
    EXPECT_TRUE(tier.SetPageBytes(kPage).ok());
    for (size_t i = 0; i < data.size(); ++i) data[i] = static_cast<std::byte>(1 + i % 251);
  }
  Status Wait() {
    TierCompletion done;
    EXPECT_EQ(tier.Poll({&done, 1}, true), 1u);
    return done.status;
  }
  Status Write(int page) {
    tier.StartWrite(PageId(page), data, 1);
    return Wait();
  }
  Status Read(int page, uint64_t offset, uint64_t bytes) {
    tier.StartRead(PageId(page), offset, MutableBytes(out).first(bytes), 1);
    return Wait();
  }
  int BitsWrong() const {
    int bits = 0;
    for (size_t i = 0; i < kPage; ++i) bits += std::popcount(static_cast<unsigned>(data[i] ^ out[i]));
    return bits;
  }

  FaultyTier tier;
  std::vector<std::byte> data, out;
};

TEST(FaultyTier, WithoutFaultsIsTheTier) {
  Faulty faulty({});
  for (int p = 0; p < kPages; ++p) {
    ASSERT_TRUE(faulty.Write(p).ok());
    ASSERT_TRUE(faulty.Read(p, 0, kPage).ok());
    ASSERT_EQ(faulty.BitsWrong(), 0);
  }
  EXPECT_EQ(faulty.tier.counts().loud() + faulty.tier.counts().silent() + faulty.tier.counts().delayed, 0u);
  EXPECT_EQ(faulty.tier.counts().reads + faulty.tier.counts().writes, 2u * kPages);
}

TEST(FaultyTier, FailsWhatItCounts) {
  Faulty faulty({.fail_read = 0.3, .fail_write = 0.2, .full_write = 0.1});
  uint64_t io = 0, full = 0, reads = 0;
  for (int p = 0; p < kPages; ++p) {
    const Status written = faulty.Write(p);
    io += written.code() == StatusCode::kIo;
    full += written.code() == StatusCode::kResourceExhausted;
    if (written.ok()) reads += faulty.Read(p, 0, kPage).code() == StatusCode::kIo;
  }
  const FaultCounts& counts = faulty.tier.counts();
  EXPECT_EQ(counts.failed_writes, io);
  EXPECT_EQ(counts.full_writes, full);
  EXPECT_EQ(counts.failed_reads, reads);
  EXPECT_NEAR(static_cast<double>(io), 0.2 * kPages, 40);
  EXPECT_NEAR(static_cast<double>(full), 0.08 * kPages, 30);
  EXPECT_NEAR(static_cast<double>(reads), 0.3 * 0.72 * kPages, 45);
}

TEST(FaultyTier, CorruptReadsFlipBitsOfWhatIsReadOnly) {
  Faulty faulty({.corrupt_read = 1});
  ASSERT_TRUE(faulty.Write(0).ok());
  for (int i = 0; i < 100; ++i) {
    ASSERT_TRUE(faulty.Read(0, 0, kPage).ok());
    ASSERT_GE(faulty.BitsWrong(), 1);
    ASSERT_LE(faulty.BitsWrong(), 8);
  }
  EXPECT_EQ(faulty.tier.counts().corrupt_reads, 100u);
  faulty.tier.plan().corrupt_read = 0;
  ASSERT_TRUE(faulty.Read(0, 0, kPage).ok());
  EXPECT_EQ(faulty.BitsWrong(), 0);
}

TEST(FaultyTier, CorruptAndTornWritesStayAndLeaveTheSourceAlone) {
  for (const bool torn : {false, true}) {
    Faulty faulty(torn ? FaultPlan{.torn_write = 1} : FaultPlan{.corrupt_write = 1});
    const std::vector<std::byte> before = faulty.data;
    for (int p = 0; p < 50; ++p) {
      ASSERT_TRUE(faulty.Write(p).ok());
      ASSERT_TRUE(faulty.Read(p, 0, kPage).ok());
      ASSERT_GE(faulty.BitsWrong(), 1);
      ASSERT_EQ(faulty.data, before);
      ASSERT_EQ(faulty.out.back() == std::byte{0}, torn);
    }
    EXPECT_EQ(faulty.tier.counts().silent(), 50u);
  }
}

TEST(FaultyTier, MisplacedReadsAreOfTheSamePage) {
  Faulty faulty({.misplaced_read = 1});
  ASSERT_TRUE(faulty.Write(0).ok());
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(faulty.Read(0, 256, 128).ok());
    size_t at = 0;
    while (at + 128 <= kPage &&
           !std::equal(faulty.out.begin(), faulty.out.begin() + 128, faulty.data.begin() + static_cast<ptrdiff_t>(at)))
      at += 128;
    ASSERT_LE(at + 128, kPage);
  }
  EXPECT_GT(faulty.tier.counts().misplaced_reads, 30u);  // a draw may find the place itself
}

std::vector<uint64_t> OrderOfCompletion(const FaultPlan& plan, uint64_t seed) {
  Faulty faulty(plan, seed);
  for (int p = 0; p < 50; ++p) faulty.tier.StartWrite(PageId(p), faulty.data, static_cast<uint64_t>(p));
  EXPECT_EQ(faulty.tier.in_flight(), 50u);
  std::vector<uint64_t> tags;
  std::vector<TierCompletion> done(3);
  while (faulty.tier.in_flight() > 0) {
    const size_t n = faulty.tier.Poll(done, tags.size() % 2 == 0);
    for (size_t i = 0; i < n; ++i) tags.push_back(done[i].tag);
  }
  return tags;
}

TEST(FaultyTier, DelaysAndReordersTheSameWayForTheSameSeed) {
  std::vector<uint64_t> in_order(50);
  std::iota(in_order.begin(), in_order.end(), 0);
  const FaultPlan wild = {.fail_write = 0.2, .delay = 0.5};
  EXPECT_EQ(OrderOfCompletion({.reorder = false}, 1), in_order);
  EXPECT_NE(OrderOfCompletion(wild, 1), in_order);
  EXPECT_EQ(OrderOfCompletion(wild, 1), OrderOfCompletion(wild, 1));
  EXPECT_NE(OrderOfCompletion(wild, 1), OrderOfCompletion(wild, 2));
  std::vector<uint64_t> sorted = OrderOfCompletion(wild, 3);
  std::sort(sorted.begin(), sorted.end());
  EXPECT_EQ(sorted, in_order);
}

TEST(FaultyTier, DelayedCompletionsComeLaterButWhoWaitsGetsOne) {
  Faulty faulty({.delay = 1, .max_delay = 5});
  TierCompletion done;
  faulty.tier.StartWrite(PageId(0), faulty.data, 9);
  EXPECT_EQ(faulty.tier.Poll({&done, 1}, false), 0u);
  EXPECT_EQ(faulty.tier.in_flight(), 1u);
  EXPECT_EQ(faulty.tier.Poll({&done, 1}, true), 1u);
  EXPECT_EQ(done.tag, 9u);
  EXPECT_EQ(faulty.tier.counts().delayed, 1u);
}

}  // namespace
}  // namespace nosa::kv
