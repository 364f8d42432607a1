// Frames and what they cost: the budget's, and the machine's.
#include "kv/slot_arena.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstring>
#include <set>

#include "ops/reference/reference_backend.h"

namespace nosa::kv {
namespace {

TEST(HostBudget, RefusesWhatPassesTheLimitAndKeepsThePeak) {
  HostBudget budget(100);
  EXPECT_TRUE(budget.TryCharge(60));
  EXPECT_FALSE(budget.TryCharge(41));
  EXPECT_EQ(budget.used(), 60u);
  EXPECT_TRUE(budget.TryCharge(40));
  EXPECT_TRUE(budget.TryCharge(0));
  EXPECT_FALSE(budget.TryCharge(1));
  budget.Release(90);
  EXPECT_EQ(budget.used(), 10u);
  EXPECT_EQ(budget.left(), 90u);
  EXPECT_EQ(budget.peak(), 100u);
  EXPECT_FALSE(budget.TryCharge(kNoLimit)) << "no wrapping around";
}

class SlotArenaTest : public testing::Test {
 protected:
  // Whole pages of the machine under a range that hold memory now.
  static size_t ResidentPages(const std::byte* data, size_t bytes) {
    const uintptr_t begin = RoundUp(reinterpret_cast<uintptr_t>(data), 4096),
                    end = (reinterpret_cast<uintptr_t>(data) + bytes) / 4096 * 4096;
    if (end <= begin) return 0;
    std::vector<unsigned char> resident((end - begin) / 4096);
    if (::mincore(reinterpret_cast<void*>(begin), end - begin, resident.data()) != 0) return 0;  // not mapped any more
    return static_cast<size_t>(
        std::count_if(resident.begin(), resident.end(), [](unsigned char c) { return (c & 1) != 0; }));
  }

  std::unique_ptr<ops::Backend> backend_ = ops::reference::MakeReferenceBackend();
};

TEST_F(SlotArenaTest, DistinctAlignedFramesUpToTheBudget) {
  HostBudget budget(5000 * 1024);
  SlotArena arena(1024, &budget, backend_.get());
  std::set<std::byte*> frames;
  while (std::byte* frame = arena.Allocate()) {
    EXPECT_EQ(reinterpret_cast<uintptr_t>(frame) % 1024, 0u);
    std::memset(frame, 1, 1024);
    ASSERT_TRUE(frames.insert(frame).second);
  }
  EXPECT_EQ(frames.size(), 5000u) << "more than a slab";
  EXPECT_EQ(budget.used(), budget.limit());
  arena.Free(*frames.begin());
  EXPECT_EQ(budget.left(), 1024u);
  EXPECT_EQ(arena.Allocate(), *frames.begin());
}

TEST_F(SlotArenaTest, FramesLargerThanASlab) {
  HostBudget budget(20 * kMiB);
  SlotArena arena(9 * kMiB, &budget, backend_.get());
  EXPECT_NE(arena.Allocate(), nullptr);
  EXPECT_NE(arena.Allocate(), nullptr);
  EXPECT_EQ(arena.Allocate(), nullptr);
}

TEST_F(SlotArenaTest, DestructionReleasesTheBudget) {
  HostBudget budget(kMiB);
  {
    SlotArena arena(4096, &budget, backend_.get());
    for (int i = 0; i < 7; ++i) EXPECT_NE(arena.Allocate(), nullptr);
  }
  EXPECT_EQ(budget.used(), 0u);
}

// What is given back to the budget is taken by somebody else: the machine must have it back too.
TEST_F(SlotArenaTest, ReservedFramesAreThereAndNotCharged) {
  HostBudget budget(1 * kMiB);
  SlotArena arena(4096, &budget, backend_.get());
  ASSERT_TRUE(arena.Reserve(3).ok());
  EXPECT_EQ(budget.used(), 0u);
  std::byte* first = arena.Allocate();
  ASSERT_TRUE(arena.Reserve(3).ok()) << "there already";
  std::byte* second = arena.Allocate();
  std::byte* third = arena.Allocate();
  EXPECT_EQ(second, first + 4096);
  EXPECT_EQ(third, second + 4096);
  EXPECT_EQ(budget.used(), 3u * 4096);
}

TEST_F(SlotArenaTest, FreedFramesHoldNoMemory) {
  constexpr size_t kFrame = 64 * kKiB;
  HostBudget budget(kNoLimit);
  SlotArena arena(kFrame, &budget, backend_.get());
  std::vector<std::byte*> frames;
  for (int i = 0; i < 32; ++i) {
    frames.push_back(arena.Allocate());
    std::memset(frames.back(), 7, kFrame);
  }
  for (size_t i = 0; i < frames.size(); i += 2) arena.Free(frames[i]);
  for (size_t i = 0; i < frames.size(); ++i) {
    EXPECT_EQ(ResidentPages(frames[i], kFrame), i % 2 == 0 ? 0u : kFrame / 4096) << "frame " << i;
    EXPECT_EQ(frames[i][kFrame - 1], i % 2 == 0 ? std::byte{0} : std::byte{7});
  }
}

}  // namespace
}  // namespace nosa::kv
