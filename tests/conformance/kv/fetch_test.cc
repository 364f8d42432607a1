// Demands for blocks that do not fit at once: which are handed out, in which order, and what is read for it.
#include "kv/fetch.h"

#include <gtest/gtest.h>

#include "base/rng.h"
#include "faulty_tier.h"
#include "kv/store_test_util.h"

namespace nosa::kv {
namespace {

constexpr auto kAny = BlockFetch::Order::kAny, kAscending = BlockFetch::Order::kAscending;

// One sequence of 20 sealed blocks and a tail under the smallest budget, four slots per lane.
class FetchTest : public testing::Test {
 protected:
  void Fill(std::unique_ptr<Tier> tier, const std::string& codec = "raw", uint64_t more = 0) {
    const SequenceNeeds needs = {82, 0};
    const auto make = [&](std::unique_ptr<Tier> cold, uint64_t budget) {
      StoreOptions options;
      options.layout = SmallLayout();
      options.host_budget_bytes = budget;
      options.codec = codec;
      options.cold = std::move(cold);
      options.max_append_tokens = 8;
      return KvStore::Create(std::move(options), backend_.get()).value();
    };
    const uint64_t smallest = make(SmallTier(), kNoLimit)->SmallestBudget({&needs, 1});
    store_ = make(std::move(tier), smallest + more);
    sequence_ = {store_->Open(needs).value(), {}};
    while (sequence_.length() < 82)
      ASSERT_TRUE(Append(*store_, &sequence_, std::min(8, 82 - sequence_.length()), 4).ok());
    store_->NextStep();
  }

  std::vector<KnownWant> Wants(int lane, const std::vector<int>& blocks) const {
    std::vector<KnownWant> wants;
    for (const int block : blocks) wants.push_back({lane, &sequence_, block});
    return wants;
  }
  uint64_t Fetched() const { return store_->stats().blocks_fetched; }

  std::unique_ptr<ops::Backend> backend_ = ops::reference::MakeReferenceBackend();
  std::unique_ptr<KvStore> store_;
  KnownSequence sequence_;
};

TEST_F(FetchTest, EverythingThroughFourSlots) {
  for (const std::string tier : {"memory", "disk"}) {
    Fill(SmallTier(tier));
    for (const auto order : {kAny, kAscending}) {
      for (const size_t hold : {0, 1, 2}) {
        EXPECT_TRUE(FetchAndCheck(*store_, AllWants(*store_, {&sequence_}), order, hold).ok())
            << tier << " holding " << hold;
        store_->NextStep();
      }
    }
  }
}

TEST_F(FetchTest, ThroughBounceBuffersOfACodec) {
  Fill(SmallTier(), "int8");
  const float tolerance = static_cast<float>(MakeCodec("int8").value()->Error().ceiling);
  for (const auto order : {kAny, kAscending}) {
    EXPECT_TRUE(FetchAndCheck(*store_, AllWants(*store_, {&sequence_}), order, 1, tolerance).ok());
    store_->NextStep();
  }
}

TEST_F(FetchTest, LateCompletionsInAnyOrder) {
  for (uint64_t seed = 0; seed < 5; ++seed) {
    Fill(std::make_unique<FaultyTier>(SmallTier(), seed, FaultPlan{.delay = 0.6, .max_delay = 5}),
         seed % 2 == 0 ? "raw" : "int8");
    for (const auto order : {kAny, kAscending}) {
      EXPECT_TRUE(
          FetchAndCheck(*store_, AllWants(*store_, {&sequence_}), order, seed % 3, seed % 2 == 0 ? 0 : 0.01f).ok());
      store_->NextStep();
    }
  }
}

TEST_F(FetchTest, NothingWantedIsDoneAtOnce) {
  Fill(SmallTier());
  EXPECT_TRUE(FetchAndCheck(*store_, {}, kAny).ok());
  { BlockFetch never_started(*store_, kAny); }
  EXPECT_TRUE(FetchAndCheck(*store_, Wants(0, {1}), kAny).ok());
}

// What is there is not read, and what was read this step is there for the next.
TEST_F(FetchTest, HitsAreNotRead) {
  Fill(SmallTier());
  const uint64_t before = Fetched();
  EXPECT_TRUE(FetchAndCheck(*store_, Wants(2, {16, 17, 18, 19}), kAny).ok());
  EXPECT_EQ(Fetched(), before) << "the newest blocks are in the slots";
  store_->NextStep();
  EXPECT_TRUE(FetchAndCheck(*store_, Wants(2, {3, 17, 18, 19}), kAny).ok());
  EXPECT_EQ(Fetched(), before + 1);
  store_->NextStep();
  const uint64_t hits = store_->stats().hits, lookups = store_->stats().lookups;
  EXPECT_TRUE(FetchAndCheck(*store_, Wants(2, {3, 17, 18, 19}), kAscending).ok());
  EXPECT_EQ(Fetched(), before + 1) << "16 left: nobody wanted it";
  EXPECT_EQ(store_->stats().hits, hits + 4);
  EXPECT_EQ(store_->stats().lookups, lookups + 4);
}

// In order, a lane full of later blocks makes room by giving up the last, which is read again and counts as a miss.
TEST_F(FetchTest, InOrderALaterHitMakesRoom) {
  Fill(SmallTier());
  const uint64_t before = Fetched(), hits = store_->stats().hits;
  EXPECT_TRUE(FetchAndCheck(*store_, Wants(1, {0, 16, 17, 18, 19}), kAscending).ok());
  EXPECT_EQ(Fetched(), before + 2);
  EXPECT_EQ(store_->stats().hits, hits + 3);
}

TEST_F(FetchTest, GivenUpHalfWayItHoldsNothing) {
  for (const auto order : {kAny, kAscending}) {
    Fill(std::make_unique<FaultyTier>(SmallTier(), 3, FaultPlan{.delay = 0.5}));
    for (int rounds = 0; rounds < 6; ++rounds) {
      std::vector<BlockWant> wants;
      for (int lane = 0; lane < 4; ++lane) {
        for (int block = 0; block < 20; ++block)
          wants.push_back({lane, store_->page(sequence_.seq, BlockId(block)), 0});
      }
      BlockFetch fetch(*store_, order);
      fetch.Start(wants);
      for (int calls = 0; calls < rounds; ++calls) {
        const auto ready = fetch.Next();
        ASSERT_TRUE(ready.ok());
        if (calls + 1 < rounds) fetch.Release(*ready);  // the last stay out
      }
    }
    store_->NextStep();
    EXPECT_TRUE(FetchAndCheck(*store_, AllWants(*store_, {&sequence_}), order).ok());
    store_->Close(sequence_.seq);
    EXPECT_EQ(store_->stats().cold_bytes, 0u);
  }
}

TEST_F(FetchTest, ErrorsEndItAndLeaveTheStoreUsable) {
  for (const auto order : {kAny, kAscending}) {
    auto tier = std::make_unique<FaultyTier>(SmallTier(), 3, FaultPlan{});
    FaultyTier* faulty = tier.get();
    Fill(std::move(tier));
    for (int i = 0; i < 20; ++i) {
      faulty->plan() = {.fail_read = i % 2 == 0 ? 0.2 : 0, .corrupt_read = i % 2 == 1 ? 0.2 : 0, .delay = 0.5};
      const Status status = FetchAndCheck(*store_, AllWants(*store_, {&sequence_}), order);
      ASSERT_EQ(status.code(), i % 2 == 0 ? StatusCode::kIo : StatusCode::kDataLoss);
      EXPECT_EQ(store_->TakeLostBlock(sequence_.seq).valid(), i % 2 == 1);
      store_->NextStep();
    }
    faulty->plan() = {};
    EXPECT_TRUE(FetchAndCheck(*store_, AllWants(*store_, {&sequence_}), order).ok());
  }
}

}  // namespace
}  // namespace nosa::kv
