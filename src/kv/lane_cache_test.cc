// Slots of one lane: quotas, frames, pins and victims, against a plain model of what is where.
#include "kv/lane_cache.h"

#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <set>

#include "base/rng.h"
#include "ops/reference/reference_backend.h"

namespace nosa::kv {
namespace {

constexpr size_t kFrame = 256;
constexpr auto kAll = [](const LaneCache::Slot&) { return true; };

class LaneCacheTest : public testing::Test {
 protected:
  LaneCache Make(const std::string& policy = "lru") { return LaneCache(MakePolicy(policy).value(), &arena_); }

  std::unique_ptr<ops::Backend> backend_ = ops::reference::MakeReferenceBackend();
  HostBudget budget_{10 * kFrame};
  SlotArena arena_{kFrame, &budget_, backend_.get()};
};

TEST_F(LaneCacheTest, TakesUpToTheQuotaThenTheVictim) {
  LaneCache cache = Make();
  EXPECT_EQ(cache.Take(PageId(0), {}, kAll), -1) << "no quota, nothing to evict";
  cache.SetQuota(2);
  const int a = cache.Take(PageId(7), {}, kAll), b = cache.Take(PageId(900), {}, kAll);
  EXPECT_NE(a, b);
  EXPECT_EQ(cache.Find(PageId(7)), a);
  EXPECT_EQ(cache.Find(PageId(8)), -1);
  EXPECT_EQ(cache.Find(PageId(1'000'000)), -1);
  cache.Use(a, {});
  EXPECT_EQ(cache.Take(PageId(3), {}, kAll), b) << "the least recently used";
  EXPECT_EQ(cache.Find(PageId(900)), -1);
  EXPECT_EQ(cache.occupied(), 2);
  EXPECT_EQ(budget_.used(), 2 * kFrame);
}

TEST_F(LaneCacheTest, PinnedAndLoadingSlotsStay) {
  LaneCache cache = Make();
  cache.SetQuota(3);
  const int pinned = cache.Take(PageId(0), {}, kAll), loading = cache.Take(PageId(1), {}, kAll),
            free = cache.Take(PageId(2), {}, kAll);
  cache.Pin(pinned);
  cache.Pin(pinned);
  cache.SetLoading(loading, true);
  EXPECT_EQ(cache.Take(PageId(3), {}, [&](const LaneCache::Slot& s) { return s.page != PageId(2); }), -1);
  EXPECT_EQ(cache.Take(PageId(3), {}, kAll), free);
  cache.Pin(free);
  EXPECT_EQ(cache.Take(PageId(4), {}, kAll), -1);
  cache.Unpin(pinned);
  EXPECT_EQ(cache.Take(PageId(4), {}, kAll), -1) << "one of two readers is left";
  cache.Unpin(pinned);
  EXPECT_EQ(cache.Take(PageId(4), {}, kAll), pinned);
}

TEST_F(LaneCacheTest, ALowerQuotaGivesFramesBack) {
  LaneCache cache = Make();
  cache.SetQuota(6);
  for (int i = 0; i < 6; ++i) cache.Take(PageId(i), {}, kAll);
  cache.DropPage(PageId(5));
  EXPECT_EQ(budget_.used(), 6 * kFrame) << "the frame waits for the next page";
  cache.SetQuota(5);
  EXPECT_EQ(budget_.used(), 5 * kFrame);
  EXPECT_EQ(cache.occupied(), 5);
  cache.SetQuota(2);
  EXPECT_EQ(budget_.used(), 2 * kFrame);
  EXPECT_EQ(cache.Find(PageId(0)), -1) << "the oldest left";
  EXPECT_GE(cache.Find(PageId(4)), 0);
  cache.SetQuota(0);
  EXPECT_EQ(budget_.used(), 0u);
}

TEST_F(LaneCacheTest, WithoutBudgetItEvicts) {
  LaneCache cache = Make();
  cache.SetQuota(std::numeric_limits<int32_t>::max());
  for (int i = 0; i < 10; ++i) EXPECT_GE(cache.Take(PageId(i), {}, kAll), 0);
  EXPECT_GE(cache.Take(PageId(10), {}, kAll), 0);
  EXPECT_EQ(cache.occupied(), 10);
  EXPECT_EQ(cache.Find(PageId(0)), -1);
}

TEST_F(LaneCacheTest, DestructionGivesEverythingBack) {
  {
    LaneCache cache = Make();
    cache.SetQuota(4);
    for (int i = 0; i < 4; ++i) cache.Take(PageId(i), {}, kAll);
    LaneCache moved = std::move(cache);
    EXPECT_GE(moved.Find(PageId(3)), 0);
    EXPECT_EQ(budget_.used(), 4 * kFrame);
  }
  EXPECT_EQ(budget_.used(), 0u);
}

// Each page in a frame of its own, with its pins and the bytes it was given.
void ExpectPages(const LaneCache& cache, const std::map<int, int>& pins) {
  std::set<const std::byte*> frames;
  for (const auto& [other, count] : pins) {
    const LaneCache::Slot& s = cache.at(cache.Find(PageId(other)));
    ASSERT_EQ(s.page, PageId(other));
    ASSERT_EQ(s.pins, count);
    ASSERT_TRUE(frames.insert(s.data).second) << "two pages in one frame";
    ASSERT_EQ(s.data[kFrame - 1], static_cast<std::byte>(other)) << "the bytes of a page that is there stay";
  }
}

// Random lives of pages. The model: which page is where, with which bytes and pins.
TEST_F(LaneCacheTest, RandomLives) {
  for (const std::string policy : {"lru", "importance-lru"}) {
    LaneCache cache = Make(policy);
    const Philox rng(31);
    std::map<int, int> pins;  // by page that is there
    int quota = 0;
    for (uint64_t step = 0; step < 4000; ++step) {
      const auto draw = rng.Block(step);
      const int page = static_cast<int>(draw[1] % 24);
      const UseHint hint = {step / 8, static_cast<float>(draw[3] % 5)};
      const int slot = cache.Find(PageId(page));
      ASSERT_EQ(slot >= 0, pins.contains(page));
      switch (draw[0] % 6) {
        case 0:
        case 1: {
          if (slot >= 0) break;
          const int taken = cache.Take(PageId(page), hint, kAll);
          std::erase_if(pins, [&](const auto& each) { return cache.Find(PageId(each.first)) < 0; });
          if (taken < 0) {
            for (const auto& [other, count] : pins) ASSERT_GT(count, 0) << "page " << other << " could have left";
            ASSERT_GE(static_cast<int>(pins.size()), std::min(quota, 10));
            break;
          }
          std::fill_n(cache.at(taken).data, kFrame, static_cast<std::byte>(page));
          pins[page] = 0;
          break;
        }
        case 2:
          if (slot >= 0) cache.Use(slot, hint);
          break;
        case 3:
          if (slot >= 0 && pins[page] == 0) cache.DropPage(PageId(page)), pins.erase(page);
          break;
        case 4:
          if (slot >= 0 && draw[2] % 2 == 0)
            cache.Pin(slot), ++pins[page];
          else if (slot >= 0 && pins[page] > 0)
            cache.Unpin(slot), --pins[page];
          break;
        case 5: {
          if (draw[2] % 8 != 0) break;
          for (auto& [other, count] : pins) {
            for (; count > 0; --count) cache.Unpin(cache.Find(PageId(other)));
          }
          cache.SetQuota(quota = static_cast<int>(draw[3] % 14));
          std::erase_if(pins, [&](const auto& each) { return cache.Find(PageId(each.first)) < 0; });
          ASSERT_LE(budget_.used(), static_cast<uint64_t>(quota) * kFrame);
        }
      }
      ASSERT_EQ(cache.occupied(), static_cast<int>(pins.size()));
      ASSERT_LE(cache.occupied(), quota);
      ASSERT_LE(budget_.used(), budget_.limit());
      ExpectPages(cache, pins);
    }
  }
  EXPECT_EQ(budget_.used(), 0u);
}

}  // namespace
}  // namespace nosa::kv
