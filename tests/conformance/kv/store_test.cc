// The life of sequences in a store: bytes, budgets, and what is left after each kind of failure.
#include "kv/store.h"

#include <gmock/gmock.h>

#include "faulty_tier.h"
#include "kv/store_test_util.h"
#include "stingy_backend.h"

namespace nosa::kv {
namespace {

using testing::HasSubstr;

class StoreTest : public testing::Test {
 protected:
  std::unique_ptr<KvStore> Make(uint64_t budget, std::unique_ptr<Tier> cold, int max_append = 16,
                                const std::string& codec = "raw") {
    StoreOptions options;
    options.layout = SmallLayout();
    options.host_budget_bytes = budget;
    options.codec = codec;
    options.cold = std::move(cold);
    options.max_append_tokens = max_append;
    auto store = KvStore::Create(std::move(options), backend_.get());
    EXPECT_TRUE(store.ok()) << store.status().ToString();
    return std::move(store).value();
  }
  // The smallest budget for these, with or without a tier below.
  uint64_t Smallest(const std::vector<SequenceNeeds>& needs, bool cold) {
    return Make(kNoLimit, cold ? SmallTier() : nullptr)->SmallestBudget(needs);
  }
  // A store over a tier that can be told to fail.
  std::unique_ptr<KvStore> MakeFaulty(uint64_t budget, FaultyTier** faulty, std::unique_ptr<Tier> inner = SmallTier()) {
    auto tier = std::make_unique<FaultyTier>(std::move(inner), 1, FaultPlan{});
    *faulty = tier.get();
    return Make(budget, std::move(tier));
  }

  std::unique_ptr<ops::Backend> backend_ = ops::reference::MakeReferenceBackend();
};

TEST_F(StoreTest, SealsWhatIsFullAndKeepsTheTailOpen) {
  const auto store = Make(kNoLimit, nullptr);
  KnownSequence sequence = {store->Open({40, 100}).value(), {}};
  EXPECT_EQ(store->side(sequence.seq).size(), 100u);
  for (const int tokens : {1, 3, 5, 0, 16, 11}) {
    ASSERT_TRUE(Append(*store, &sequence, tokens, 9).ok());
    EXPECT_EQ(store->length(sequence.seq), sequence.length());
    EXPECT_EQ(store->sealed_blocks(sequence.seq), sequence.length() / 4);
    ExpectOpenBlocks(*store, sequence);
    EXPECT_TRUE(FetchAndCheck(*store, AllWants(*store, {&sequence}), BlockFetch::Order::kAny).ok());
  }
}

TEST_F(StoreTest, ASecondBeginStartsOver) {
  const auto store = Make(kNoLimit, SmallTier());
  KnownSequence sequence = {store->Open({40, 0}).value(), {}};
  ASSERT_TRUE(Append(*store, &sequence, 6, 1).ok());
  ASSERT_TRUE(store->BeginAppend(sequence.seq, 13).ok());
  for (int pos = 6; pos < 19; ++pos) WriteToken(*store, sequence.seq, pos, 2);
  ASSERT_TRUE(Append(*store, &sequence, 3, 3).ok());
  EXPECT_EQ(store->length(sequence.seq), 9);
  ExpectOpenBlocks(*store, sequence);
  EXPECT_TRUE(FetchAndCheck(*store, AllWants(*store, {&sequence}), BlockFetch::Order::kAny).ok());
}

TEST_F(StoreTest, TruncateAnywhereAndGoOn) {
  for (const bool cold : {false, true}) {
    const SequenceNeeds needs = {64, 0};
    const auto store = Make(cold ? Smallest({needs}, true) : kNoLimit, cold ? SmallTier() : nullptr);
    for (int cut = 0; cut <= 43; ++cut) {
      KnownSequence sequence = {store->Open(needs).value(), {}};
      for (int i = 0; i < 43; i += 14) ASSERT_TRUE(Append(*store, &sequence, std::min(14, 43 - i), 5).ok());
      ASSERT_TRUE(store->Truncate(sequence.seq, cut).ok());
      sequence.salts.resize(static_cast<size_t>(cut));
      ExpectOpenBlocks(*store, sequence);
      ASSERT_TRUE(Append(*store, &sequence, 9, 6).ok());
      ExpectOpenBlocks(*store, sequence);
      EXPECT_TRUE(FetchAndCheck(*store, AllWants(*store, {&sequence}), BlockFetch::Order::kAscending).ok())
          << "cut at " << cut;
      store->Close(sequence.seq);
    }
    EXPECT_EQ(store->stats().cold_bytes, 0u);
  }
}

// A device writes tokens to their homes, from any length on and to any: afterwards the sequence is what appends would
// have made it, its neighbours are as they were, and nothing was taken that it had not been admitted for.
TEST_F(StoreTest, StepsOfADeviceAreAppends) {
  for (const int before : {0, 1, 3, 4, 8, 9, 16}) {
    for (const int steps : {0, 1, 3, 4, 5, 21, 24}) {
      SCOPED_TRACE(testing::Message() << steps << " steps from " << before);
      const std::vector<SequenceNeeds> needs = {{52, 0}, {52, 0}};
      const auto store = Make(Smallest(needs, false), nullptr);
      KnownSequence other = {store->Open(needs[1]).value(), {}}, sequence = {store->Open(needs[0]).value(), {}};
      ASSERT_TRUE(Append(*store, &other, 7, 2).ok());
      ASSERT_TRUE(Append(*store, &sequence, before, 5).ok());
      store->BeginSteps(sequence.seq);
      ASSERT_TRUE(Append(*store, &other, 6, 3).ok());
      for (int i = 0; i < steps; ++i) {
        const int pos = sequence.length();
        for (int lane = 0; lane < store->layout().lanes(); ++lane) {
          std::byte* home = store->Home(sequence.seq, lane, store->layout().BlockOf(pos));
          const ops::KvRow row = store->layout().Row(home, pos % 4);
          for (int at = 0; at < 3; ++at) static_cast<float*>(row.k)[at] = ValueAt(8, lane, pos, at);
          for (int at = 0; at < 2; ++at) static_cast<float*>(row.v)[at] = ValueAt(8, lane, pos, 3 + at);
          *row.s = ValueAt(8, lane, pos, 5);
        }
        sequence.salts.push_back(8);
        store->CountSteps(sequence.seq, 1);
        EXPECT_EQ(store->length(sequence.seq), sequence.length());
        EXPECT_EQ(store->sealed_blocks(sequence.seq), sequence.length() / 4);
      }
      store->EndSteps(sequence.seq);
      const auto check = [&] {
        ExpectOpenBlocks(*store, sequence);
        ExpectOpenBlocks(*store, other);
        EXPECT_TRUE(FetchAndCheck(*store, AllWants(*store, {&sequence, &other}), BlockFetch::Order::kAny).ok());
      };
      check();
      ASSERT_TRUE(Append(*store, &sequence, 9, 6).ok());
      check();
      ASSERT_TRUE(store->Truncate(sequence.seq, before + 1).ok());
      sequence.salts.resize(static_cast<size_t>(before) + 1);
      check();
      // Closed in the middle of its steps, it gives everything back.
      store->BeginSteps(sequence.seq);
      store->Close(sequence.seq);
      store->Close(other.seq);
      EXPECT_EQ(store->host_used_bytes(), Make(kNoLimit, nullptr)->host_used_bytes());
    }
  }
}

TEST_F(StoreTest, AdmitsAtTheSmallestBudgetAndRefusesOneByteBelow) {
  for (const bool cold : {false, true}) {
    const std::vector<SequenceNeeds> needs = {{50, 640}, {7, 64}};
    const uint64_t smallest = Smallest(needs, cold);
    for (const uint64_t missing : {0, 1}) {
      const auto store = Make(smallest - missing, cold ? SmallTier() : nullptr);
      EXPECT_TRUE(store->Open(needs[0]).ok());
      const auto second = store->Open(needs[1]);
      EXPECT_EQ(second.ok(), missing == 0) << (cold ? "cold" : "no tier");
      if (second.ok()) continue;
      EXPECT_EQ(second.status().code(), StatusCode::kResourceExhausted);
      EXPECT_THAT(std::string(second.status().message()), HasSubstr(FormatByteSize(smallest)));
    }
  }
}

TEST_F(StoreTest, RefusesWhatTheColdTierCannotHold) {
  const auto store = Make(kNoLimit, SmallTier());
  const auto seq = store->Open({100'000'000, 0});
  ASSERT_FALSE(seq.ok());
  EXPECT_EQ(seq.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(seq.status().message()), HasSubstr("memory: 4.0 MiB"));
  EXPECT_TRUE(store->Open({100, 0}).ok());
}

// Memory that a closed sequence's blocks had is there for other things than blocks.
// What a scheduler counts with is what Open decides by.
TEST_F(StoreTest, OpensExactlyWhatIsChargedWithinTheRoom) {
  const std::vector<SequenceNeeds> three(3, SequenceNeeds{60, 500});
  for (const bool cold : {false, true}) {
    for (const uint64_t budget : {kNoLimit, Smallest(three, cold), Smallest(three, cold) + 7777}) {
      std::unique_ptr<Tier> tier;
      if (cold) tier = MakeTier("memory", {.location = "", .capacity_bytes = 60 * kKiB}).value();
      const auto store = Make(budget, std::move(tier));
      const TierBytes room = store->Room();
      const Philox rng(budget, cold ? 1 : 0);
      TierBytes charged;
      std::vector<std::pair<SeqId, TierBytes>> open;
      int taken = 0, refused = 0;
      for (uint64_t i = 0; i < 400; ++i) {
        const auto dice = rng.Block(i);
        if (!open.empty() && dice[0] % 3 == 0) {
          const size_t which = dice[1] % open.size();
          store->Close(open[which].first);
          charged -= open[which].second;
          open.erase(open.begin() + static_cast<std::ptrdiff_t>(which));
          continue;
        }
        const SequenceNeeds needs = {static_cast<int>(1 + dice[1] % 150), dice[2] % 2000};
        const TierBytes charge = store->Charge(needs);
        EXPECT_EQ(store->CheckAlone(needs).ok(), charge.Within(room));
        const Result<SeqId> seq = store->Open(needs);
        ASSERT_EQ(seq.ok(), (charged + charge).Within(room))
            << needs.max_tokens << " tokens, " << open.size() << " open";
        ++(seq.ok() ? taken : refused);
        if (!seq.ok()) continue;
        charged += charge;
        open.emplace_back(*seq, charge);
      }
      EXPECT_GT(taken, 50);
      EXPECT_TRUE(refused > 50 || (budget == kNoLimit && !cold));
    }
  }
}

TEST_F(StoreTest, AClosedSequenceGivesItsBudgetBack) {
  for (const bool cold : {false, true}) {
    const SequenceNeeds many = {200, 0};
    const uint64_t budget = Smallest({many}, false);
    const auto store = Make(budget, cold ? SmallTier() : nullptr);
    const uint64_t base = store->host_used_bytes();
    KnownSequence first = {store->Open(many).value(), {}};
    while (first.length() < 192) ASSERT_TRUE(Append(*store, &first, 16, 1).ok());
    store->Close(first.seq);
    EXPECT_EQ(store->host_used_bytes(), base);
    // As much as before, but as side memory.
    const SequenceNeeds wide = {4, budget - Smallest({{4, 0}}, cold)};
    const auto second = store->Open(wide);
    ASSERT_TRUE(second.ok()) << second.status().ToString();
    EXPECT_LE(store->stats().host_peak_bytes, budget);
    store->Close(*second);
    EXPECT_EQ(store->host_used_bytes(), base);
    EXPECT_EQ(store->stats().cold_bytes, 0u);
  }
}

// Slots are given up for a newcomer, and what was in them is read back.
TEST_F(StoreTest, ANewcomerTakesSlotsNotBytes) {
  const SequenceNeeds needs = {80, 64};
  const auto store = Make(Smallest({needs, needs, needs}, true) + 2000, SmallTier());
  std::vector<KnownSequence> sequences(3);
  for (uint32_t i = 0; i < 3; ++i) {
    sequences[i].seq = store->Open(needs).value();
    while (sequences[i].length() < 75) ASSERT_TRUE(Append(*store, &sequences[i], 15, i).ok());
    EXPECT_LE(store->host_used_bytes(), store->host_budget_bytes());
  }
  for (const auto order : {BlockFetch::Order::kAny, BlockFetch::Order::kAscending}) {
    EXPECT_TRUE(FetchAndCheck(*store, AllWants(*store, {&sequences[0], &sequences[1], &sequences[2]}), order).ok());
  }
  EXPECT_LE(store->stats().host_peak_bytes, store->host_budget_bytes());
}

TEST_F(StoreTest, ADamagedBlockIsNamedAndForgotten) {
  FaultyTier* faulty = nullptr;
  const SequenceNeeds needs = {80, 0};
  const auto store = MakeFaulty(Smallest({needs, needs}, true), &faulty);
  KnownSequence good = {store->Open(needs).value(), {}}, bad = {store->Open(needs).value(), {}};
  while (good.length() < 64) ASSERT_TRUE(Append(*store, &good, 16, 1).ok());
  while (bad.length() < 64) {
    ASSERT_TRUE(store->Flush().ok());
    faulty->plan().corrupt_write = bad.length() == 16 ? 1 : 0;
    ASSERT_TRUE(Append(*store, &bad, 16, 2).ok());
  }
  Status status = Status::Ok();
  for (int i = 0; i < 3 && status.ok(); ++i)
    status = FetchAndCheck(*store, AllWants(*store, {&good, &bad}), BlockFetch::Order::kAny);
  ASSERT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_GT(store->stats().damaged_blocks, 0u);
  EXPECT_FALSE(store->TakeLostBlock(good.seq).valid());
  const BlockId lost = store->TakeLostBlock(bad.seq);
  ASSERT_GE(lost.value, 4);
  ASSERT_LT(lost.value, 8);
  EXPECT_FALSE(store->TakeLostBlock(bad.seq).valid()) << "forgotten once it is told";
  ASSERT_TRUE(store->Truncate(bad.seq, 16).ok());
  bad.salts.resize(16);
  while (bad.length() < 64) ASSERT_TRUE(Append(*store, &bad, 16, 3).ok());
  EXPECT_TRUE(FetchAndCheck(*store, AllWants(*store, {&good, &bad}), BlockFetch::Order::kAscending).ok());
}

// A page id comes back with other contents: damage of the earlier ones is not theirs.
TEST_F(StoreTest, ALostPageThatIsGoneIsNobodys) {
  FaultyTier* faulty = nullptr;
  const SequenceNeeds needs = {80, 0};
  const auto store = MakeFaulty(Smallest({needs}, true), &faulty);
  KnownSequence sequence = {store->Open(needs).value(), {}};
  while (sequence.length() < 64) ASSERT_TRUE(Append(*store, &sequence, 16, 1).ok());
  faulty->plan().corrupt_read = 1;
  EXPECT_EQ(FetchAndCheck(*store, {{0, &sequence, 0}}, BlockFetch::Order::kAny).code(), StatusCode::kDataLoss);
  faulty->plan().corrupt_read = 0;
  ASSERT_TRUE(store->Truncate(sequence.seq, 0).ok());
  sequence.salts.clear();
  while (sequence.length() < 64) ASSERT_TRUE(Append(*store, &sequence, 16, 2).ok());
  EXPECT_FALSE(store->TakeLostBlock(sequence.seq).valid());
}

// The block that becomes the tail cannot be read: the sequence stays as it was.
TEST_F(StoreTest, AFailedTruncationChangesNothing) {
  for (const bool damage : {false, true}) {
    FaultyTier* faulty = nullptr;
    const SequenceNeeds needs = {80, 0};
    const auto store = MakeFaulty(Smallest({needs}, true), &faulty);
    KnownSequence sequence = {store->Open(needs).value(), {}};
    while (sequence.length() < 75) ASSERT_TRUE(Append(*store, &sequence, 15, 1).ok());
    (damage ? faulty->plan().corrupt_read : faulty->plan().fail_read) = 1;
    EXPECT_EQ(store->Truncate(sequence.seq, 5).code(), damage ? StatusCode::kDataLoss : StatusCode::kIo);
    faulty->plan() = {};
    EXPECT_EQ(store->length(sequence.seq), 75);
    ExpectOpenBlocks(*store, sequence);
    ASSERT_TRUE(Append(*store, &sequence, 5, 2).ok());
    EXPECT_TRUE(FetchAndCheck(*store, AllWants(*store, {&sequence}), BlockFetch::Order::kAny).ok());
    store->Close(sequence.seq);
    EXPECT_EQ(store->stats().cold_bytes, 0u);
  }
}

// A page that was never written is nowhere to be read from. Whoever wants it gets the error of the write; its sequence
// takes no more, others do.
TEST_F(StoreTest, AFailedWriteIsToldToItsSequence) {
  for (const std::string tier : {"memory", "disk"}) {
    for (const bool late : {false, true}) {
      FaultyTier* faulty = nullptr;
      const SequenceNeeds needs = {80, 0};
      const auto store = MakeFaulty(Smallest({needs, needs}, true), &faulty, SmallTier(tier));
      KnownSequence good = {store->Open(needs).value(), {}}, bad = {store->Open(needs).value(), {}};
      ASSERT_TRUE(Append(*store, &good, 16, 1).ok());
      if (late) faulty->plan().delay = 1;
      faulty->plan().full_write = 1;
      ASSERT_TRUE(Append(*store, &bad, 8, 2).ok());
      faulty->plan().full_write = 0;
      // The pages leave the slots while nobody has been told yet.
      ASSERT_TRUE(Append(*store, &good, 16, 1).ok());
      ASSERT_TRUE(Append(*store, &good, 16, 1).ok());
      const Status status = FetchAndCheck(*store, AllWants(*store, {&bad}), BlockFetch::Order::kAny);
      EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status.ToString();
      EXPECT_EQ(store->Truncate(bad.seq, 3).code(), StatusCode::kResourceExhausted);
      EXPECT_EQ(store->BeginAppend(bad.seq, 1).code(), StatusCode::kResourceExhausted);
      EXPECT_EQ(store->Flush().code(), StatusCode::kResourceExhausted);
      store->Close(bad.seq);
      ASSERT_TRUE(Append(*store, &good, 16, 3).ok());
      EXPECT_TRUE(FetchAndCheck(*store, AllWants(*store, {&good}), BlockFetch::Order::kAscending).ok());
      store->Close(good.seq);
      EXPECT_EQ(store->stats().cold_bytes, 0u);
    }
  }
}

TEST_F(StoreTest, FlushTellsTheFirstFailure) {
  FaultyTier* faulty = nullptr;
  const auto store = MakeFaulty(kNoLimit, &faulty);
  KnownSequence sequence = {store->Open({80, 0}).value(), {}};
  faulty->plan().full_write = 1;
  ASSERT_TRUE(Append(*store, &sequence, 4, 1).ok());
  EXPECT_EQ(store->Flush().code(), StatusCode::kResourceExhausted);
  KnownSequence other = {store->Open({80, 0}).value(), {}};
  faulty->plan() = {.fail_write = 1};
  ASSERT_TRUE(Append(*store, &other, 4, 1).ok());
  EXPECT_EQ(store->Flush().code(), StatusCode::kResourceExhausted);
}

TEST_F(StoreTest, AnOpenThatFindsNoMemoryTakesNothing) {
  StingyBackend backend;
  StoreOptions options;
  options.layout = SmallLayout();
  const auto store = KvStore::Create(std::move(options), &backend).value();
  const uint64_t base = store->host_used_bytes();
  for (const int left : {0, 1}) {  // neither side memory nor a staging page; the first alone
    backend.left = left;
    EXPECT_EQ(store->Open({40, 100}).status().code(), StatusCode::kResourceExhausted);
    EXPECT_EQ(store->host_used_bytes(), base);
    EXPECT_EQ(store->slots_per_lane(), 0);
  }
  backend.left = 1000;
  EXPECT_EQ(store->Open({40, 100}).value(), SeqId(0));
}

TEST_F(StoreTest, ABudgetThatHoldsNothingSaysTheSmallest) {
  StoreOptions options;
  options.layout = SmallLayout();
  options.host_budget_bytes = 100;
  const auto store = KvStore::Create(std::move(options), backend_.get());
  ASSERT_FALSE(store.ok());
  EXPECT_EQ(store.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(store.status().message()),
              HasSubstr("the KV budget in RAM is 100 B, this model needs at least"));
}

}  // namespace
}  // namespace nosa::kv
