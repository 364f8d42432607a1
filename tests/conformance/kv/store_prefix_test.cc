// Beginnings of sequences that stay cached for others: whose bytes they are, what they cost, and what is left of them
// after damage, failures and cuts.
#include <gmock/gmock.h>

#include <cstring>

#include "faulty_tier.h"
#include "kv/store.h"
#include "kv/store_test_util.h"
#include "stingy_backend.h"

namespace nosa::kv {
namespace {

// Two blocks of four tokens.
constexpr int kChunk = 8;
constexpr uint64_t kSideBytes = 40;

class StorePrefixTest : public testing::Test {
 protected:
  std::unique_ptr<KvStore> Make(uint64_t budget, std::unique_ptr<Tier> cold, uint64_t prefix_bytes = kNoLimit) {
    StoreOptions options;
    options.layout = SmallLayout();
    options.host_budget_bytes = budget;
    options.cold = std::move(cold);
    options.max_append_tokens = 16;
    options.prefix_chunk_tokens = kChunk;
    options.prefix_bytes = prefix_bytes;
    auto store = KvStore::Create(std::move(options), backend_.get());
    EXPECT_TRUE(store.ok()) << store.status().ToString();
    return std::move(store).value();
  }
  uint64_t Smallest(const std::vector<SequenceNeeds>& needs, bool cold) {
    return Make(kNoLimit, cold ? SmallTier() : nullptr)->SmallestBudget(needs);
  }
  std::unique_ptr<KvStore> MakeFaulty(uint64_t budget, FaultyTier** faulty) {
    auto tier = std::make_unique<FaultyTier>(SmallTier(), 1, FaultPlan{});
    *faulty = tier.get();
    return Make(budget, std::move(tier));
  }
  // What one kept chunk takes of the budget beside slots.
  uint64_t ChunkBytes() {
    const auto store = Make(kNoLimit, nullptr);
    KnownSequence sequence = {store->Open({kChunk, 0}).value(), {}};
    AppendChunks(*store, &sequence, 1, 1);
    return store->stats().prefix.summary_bytes;
  }

  // The tokens of a sequence are its salts.
  static std::vector<TokenId> TokensOf(const KnownSequence& sequence) {
    return {sequence.salts.begin(), sequence.salts.end()};
  }
  static std::byte SideOf(const KnownSequence& sequence, int end) {
    return static_cast<std::byte>(37 * sequence.salts[static_cast<size_t>(end) - 1] + static_cast<uint32_t>(end));
  }
  static bool Keep(KvStore& store, const KnownSequence& sequence, std::string_view scope = "") {
    const std::vector<TokenId> tokens = TokensOf(sequence);
    const MutableBytes side = store.KeepPrefix(sequence.seq, {scope, tokens}, kSideBytes);
    if (side.empty()) return false;
    EXPECT_EQ(side.size(), kSideBytes);
    std::memset(side.data(), static_cast<int>(SideOf(sequence, sequence.length())), side.size());
    return true;
  }
  static void AppendChunks(KvStore& store, KnownSequence* sequence, int chunks, uint32_t salt) {
    for (int i = 0; i < chunks; ++i) {
      ASSERT_TRUE(Append(store, sequence, kChunk, salt + static_cast<uint32_t>(i)).ok());
      Keep(store, *sequence);
    }
  }
  // Opens a sequence that begins with what is kept of `like`, which it expects to be so many chunks.
  static KnownSequence OpenLike(KvStore& store, const KnownSequence& like, SequenceNeeds needs, int chunks,
                                std::string_view scope = "") {
    SharedPrefix shared;
    const std::vector<TokenId> tokens = TokensOf(like);
    const auto seq = store.Open(needs, {scope, tokens}, &shared);
    EXPECT_TRUE(seq.ok()) << seq.status().ToString();
    EXPECT_EQ(shared.first, 0);
    EXPECT_EQ(static_cast<int>(shared.chunks.size()), chunks);
    EXPECT_EQ(store.length(*seq), chunks * kChunk);
    for (size_t i = 0; i < shared.chunks.size(); ++i) {
      EXPECT_EQ(shared.chunks[i].size(), kSideBytes);
      EXPECT_EQ(shared.chunks[i][kSideBytes - 1], SideOf(like, (static_cast<int>(i) + 1) * kChunk)) << "chunk " << i;
    }
    return {*seq, {like.salts.begin(), like.salts.begin() + chunks * kChunk}};
  }
  static void ExpectRight(KvStore& store, const std::vector<const KnownSequence*>& sequences) {
    for (const auto order : {BlockFetch::Order::kAny, BlockFetch::Order::kAscending}) {
      for (const size_t hold : {0, 2}) EXPECT_TRUE(FetchAndCheck(store, AllWants(store, sequences), order, hold).ok());
    }
    for (const KnownSequence* sequence : sequences) ExpectOpenBlocks(store, *sequence);
  }

  std::unique_ptr<ops::Backend> backend_ = ops::reference::MakeReferenceBackend();
};

TEST_F(StorePrefixTest, IsSharedReadAloneAndOutlivesWhoMadeIt) {
  for (const bool cold : {false, true}) {
    // Beside much that is not slots, the eighth that prefixes may have is enough, and the slots are few.
    const SequenceNeeds needs = {64, 10000};
    const auto store =
        cold ? Make(Smallest({needs, needs, needs}, true) + 8 * ChunkBytes(), SmallTier()) : Make(kNoLimit, nullptr);
    const uint64_t base = store->host_used_bytes();
    KnownSequence first = {store->Open(needs).value(), {}};
    AppendChunks(*store, &first, 3, 1);
    ASSERT_TRUE(Append(*store, &first, 3, 9).ok());
    KnownSequence second = OpenLike(*store, first, needs, 3);
    KnownSequence third = first;
    third.salts[kChunk + 2] = 99;  // differs within the second chunk
    third = OpenLike(*store, third, needs, 1);
    EXPECT_EQ(store->page(second.seq, BlockId(5)), store->page(first.seq, BlockId(5)));
    EXPECT_TRUE(store->shared(store->page(third.seq, BlockId(0))));
    ASSERT_TRUE(Append(*store, &third, kChunk, 30).ok());
    EXPECT_FALSE(store->shared(store->page(third.seq, BlockId(2))));
    EXPECT_TRUE(Keep(*store, third));
    AppendChunks(*store, &second, 2, 20);
    AppendChunks(*store, &third, 1, 31);
    ExpectRight(*store, {&first, &second, &third});
    store->Close(first.seq);
    store->Close(third.seq);
    EXPECT_GT(store->stats().prefix.retained_bytes, 0u);
    ExpectRight(*store, {&second});
    KnownSequence fourth = OpenLike(*store, third, needs, 3), fifth = OpenLike(*store, second, needs, 5);
    ExpectRight(*store, {&second, &fourth, &fifth});
    for (const SeqId seq : {second.seq, fourth.seq, fifth.seq}) store->Close(seq);
    EXPECT_EQ(store->stats().prefix.chunks, 7);
    EXPECT_LE(store->stats().host_peak_bytes, store->host_budget_bytes());
    store->DropPrefixes();
    EXPECT_EQ(store->host_used_bytes(), base);
    EXPECT_EQ(store->stats().cold_bytes, 0u);
    EXPECT_EQ(store->stats().prefix.retained_bytes + store->stats().prefix.summary_bytes, 0u);
  }
}

TEST_F(StorePrefixTest, IsOfOneScope) {
  const auto store = Make(kNoLimit, nullptr);
  KnownSequence first = {store->Open({64, 0}).value(), {}};
  ASSERT_TRUE(Append(*store, &first, kChunk, 1).ok());
  EXPECT_TRUE(Keep(*store, first, "alice"));
  EXPECT_FALSE(Keep(*store, first, "alice")) << "already";
  OpenLike(*store, first, {64, 0}, 0, "bob");
  OpenLike(*store, first, {64, 0}, 0);
  OpenLike(*store, first, {64, 0}, 1, "alice");
}

// A chunk whose beginning nobody kept could not be found: it is not kept.
TEST_F(StorePrefixTest, WithoutItsBeginningNothingIsKept) {
  const auto store = Make(kNoLimit, nullptr);
  KnownSequence first = {store->Open({64, 0}).value(), {}};
  ASSERT_TRUE(Append(*store, &first, kChunk, 1).ok());
  ASSERT_TRUE(Append(*store, &first, kChunk, 2).ok());
  EXPECT_FALSE(Keep(*store, first));
  EXPECT_EQ(store->stats().prefix.chunks, 0);
}

// A block of two chunks: it stays that of the first.
TEST_F(StorePrefixTest, ABlockIsOfOneChunk) {
  const auto store = Make(kNoLimit, nullptr);
  KnownSequence first = {store->Open({64, 0}).value(), {}};
  AppendChunks(*store, &first, 1, 1);
  ASSERT_TRUE(store->Truncate(first.seq, 4).ok());
  first.salts.resize(4);
  ASSERT_TRUE(Append(*store, &first, 4, 2).ok());
  EXPECT_FALSE(Keep(*store, first));
  store->Close(first.seq);
  first.salts.assign(kChunk, 1);
  first = OpenLike(*store, first, {64, 0}, 1);
  ExpectRight(*store, {&first});
}

// What is read beside it is taken over, too.
TEST_F(StorePrefixTest, IsTakenOverLater) {
  const auto store = Make(kNoLimit, SmallTier());
  KnownSequence first = {store->Open({64, 0}).value(), {}}, second = {store->Open({64, 0}).value(), {}};
  AppendChunks(*store, &first, 1, 1);
  ASSERT_TRUE(Append(*store, &second, kChunk, 1).ok());
  EXPECT_FALSE(Keep(*store, second)) << "the first one's is";
  AppendChunks(*store, &first, 3, 2);
  // A pass that failed has begun to write.
  ASSERT_TRUE(store->BeginAppend(second.seq, 5).ok());
  SharedPrefix shared;
  std::vector<TokenId> tokens = TokensOf(first);
  tokens.back() = 77;
  store->SharePrefix(second.seq, {"", tokens}, &shared);
  EXPECT_EQ(shared.first, kChunk);
  EXPECT_EQ(shared.chunks.size(), 2u);
  second.salts.assign(first.salts.begin(), first.salts.begin() + 3 * kChunk);
  EXPECT_EQ(store->length(second.seq), second.length());
  store->SharePrefix(second.seq, {"", tokens}, &shared);
  EXPECT_TRUE(shared.chunks.empty());
  ASSERT_TRUE(Append(*store, &second, 5, 40).ok());
  ExpectRight(*store, {&first, &second});
  EXPECT_EQ(store->stats().prefix.tokens_reused, 2u * kChunk);
}

// The whole budget is there for whoever is to be admitted: what is kept makes room, oldest first, last chunks first.
TEST_F(StorePrefixTest, IsNoReasonToRefuse) {
  for (const bool cold : {false, true}) {
    const SequenceNeeds small = {4 * kChunk, 64}, large = {12 * kChunk, 64};
    const uint64_t budget = Smallest({small, large}, cold) + 2 * ChunkBytes();
    const auto store = Make(budget, cold ? SmallTier() : nullptr);
    KnownSequence first = {store->Open(small).value(), {}};
    AppendChunks(*store, &first, 3, 1);
    KnownSequence second = {store->Open(small).value(), {}};
    AppendChunks(*store, &second, 3, 10);
    store->Close(first.seq);
    store->Close(second.seq);
    EXPECT_GT(store->stats().prefix.chunks, 0);
    // Again and again: none of it adds up.
    for (uint32_t round = 0; round < 5; ++round) {
      const auto a = store->Open(large), b = store->Open(small);
      ASSERT_TRUE(a.ok() && b.ok()) << (a.ok() ? b : a).status().ToString();
      EXPECT_EQ(store->Open({1, budget}).status().code(), StatusCode::kResourceExhausted);
      KnownSequence third = {*a, {}}, fourth = {*b, {}};
      AppendChunks(*store, &third, 12, 100 * round);
      AppendChunks(*store, &fourth, 4, 100 * round + 50);
      ExpectRight(*store, {&third, &fourth});
      EXPECT_LE(store->stats().host_peak_bytes, budget);
      store->Close(*a);
      store->Close(*b);
    }
    EXPECT_GT(store->stats().prefix.chunks_evicted, 0u);
  }
}

// One that can never be admitted costs nobody their prefixes.
TEST_F(StorePrefixTest, ARefusalForgetsNothing) {
  const SequenceNeeds needs = {4 * kChunk, 64};
  const uint64_t budget = Smallest({needs}, false) + 4 * ChunkBytes();
  const auto store = Make(budget, nullptr);
  KnownSequence first = {store->Open(needs).value(), {}};
  AppendChunks(*store, &first, 3, 1);
  store->Close(first.seq);
  EXPECT_FALSE(store->Open({100 * kChunk, 0}).ok());
  EXPECT_EQ(store->stats().prefix.chunks, 3);
  EXPECT_EQ(store->stats().prefix.chunks_evicted, 0u);
}

// Under a budget that holds one sequence and its summaries, the next one with the same beginning takes all of it over:
// what it takes over is not counted beside itself.
TEST_F(StorePrefixTest, IsNotCountedBesideWhoTakesItOver) {
  const SequenceNeeds needs = {4 * kChunk, 64};
  const auto store = Make(Smallest({needs}, false) + 3 * ChunkBytes(), nullptr);
  KnownSequence first = {store->Open(needs).value(), {}};
  AppendChunks(*store, &first, 3, 1);
  store->Close(first.seq);
  for (int round = 0; round < 3; ++round) {
    KnownSequence next = OpenLike(*store, first, needs, 3);
    ASSERT_TRUE(Append(*store, &next, kChunk, 5).ok());
    ExpectRight(*store, {&next});
    store->Close(next.seq);
  }
  EXPECT_EQ(store->stats().prefix.chunks_evicted, 0u);
  // One byte less, and there is no room for the third chunk's summaries.
  const auto tight = Make(Smallest({needs}, false) + 3 * ChunkBytes() - 1, nullptr);
  first = {tight->Open(needs).value(), {}};
  AppendChunks(*tight, &first, 3, 1);
  EXPECT_EQ(tight->stats().prefix.chunks, 2);
}

TEST_F(StorePrefixTest, TheOldestIsForgottenFirst) {
  const SequenceNeeds needs = {2 * kChunk, 0};
  // Of two such sequences.
  const uint64_t bound = 4 * ChunkBytes() + 8 * 4 * Make(kNoLimit, nullptr)->block_record_bytes();
  const auto store = Make(kNoLimit, nullptr, bound);
  std::vector<KnownSequence> old;
  for (uint32_t i = 0; i < 4; ++i) {
    if (i == 3) store->Close(OpenLike(*store, old[1], needs, 2).seq);  // used again: the third is the oldest
    old.push_back({store->Open(needs).value(), {}});
    AppendChunks(*store, &old.back(), 2, 10 * i);
    store->Close(old.back().seq);
    const PrefixStats stats = store->stats().prefix;
    EXPECT_LE(stats.retained_bytes + stats.summary_bytes, bound);
  }
  EXPECT_EQ(store->stats().prefix.chunks, 4);
  for (const size_t i : {1u, 3u}) store->Close(OpenLike(*store, old[i], needs, 2).seq);
  for (const size_t i : {0u, 2u}) store->Close(OpenLike(*store, old[i], needs, 0).seq);
}

// A cut inside a shared block makes a block of the sequence's own; nobody else's changes.
TEST_F(StorePrefixTest, ACutCopiesTheTail) {
  for (const bool cold : {false, true}) {
    for (int cut = 0; cut <= 2 * kChunk; ++cut) {
      const SequenceNeeds needs = {64, 0};
      const auto store =
          cold ? Make(Smallest({needs, needs}, true) + 8 * ChunkBytes(), SmallTier()) : Make(kNoLimit, nullptr);
      KnownSequence first = {store->Open(needs).value(), {}};
      AppendChunks(*store, &first, 2, 1);
      KnownSequence second = OpenLike(*store, first, needs, 2);
      ASSERT_TRUE(store->Truncate(second.seq, cut).ok());
      second.salts.resize(static_cast<size_t>(cut));
      ASSERT_TRUE(Append(*store, &second, 11, 50).ok());
      ExpectRight(*store, {&first, &second});
      store->Close(first.seq);
      ExpectRight(*store, {&second});
      KnownSequence third = OpenLike(*store, first, needs, 2);
      ExpectRight(*store, {&second, &third});
    }
  }
}

// What a cut leaves to nobody but the cache must not take the place of what the sequence may still append.
TEST_F(StorePrefixTest, ACutLeavesRoomForWhatComes) {
  const SequenceNeeds needs = {4 * kChunk, 0};
  const uint64_t budget = Smallest({needs}, false) + 4 * ChunkBytes();
  const auto store = Make(budget, nullptr);
  KnownSequence first = {store->Open(needs).value(), {}};
  for (uint32_t round = 0; round < 4; ++round) {
    AppendChunks(*store, &first, 4 - first.length() / kChunk, 10 * round);
    ExpectRight(*store, {&first});
    const int keep = round == 1 ? 2 * kChunk : 0;
    ASSERT_TRUE(store->Truncate(first.seq, keep).ok());
    first.salts.resize(static_cast<size_t>(keep));
    EXPECT_LE(store->stats().host_peak_bytes, budget);
  }
}

TEST_F(StorePrefixTest, StepsOfADeviceLeaveSharedBlocksAsTheyAre) {
  const SequenceNeeds needs = {64, 0};
  const auto store = Make(Smallest({needs, needs}, false) + 4 * ChunkBytes(), nullptr);
  KnownSequence first = {store->Open(needs).value(), {}};
  AppendChunks(*store, &first, 2, 1);
  KnownSequence second = OpenLike(*store, first, needs, 2);
  ASSERT_TRUE(Append(*store, &second, 3, 5).ok());
  store->BeginSteps(first.seq);
  store->BeginSteps(second.seq);
  EXPECT_EQ(store->Home(first.seq, 1, BlockId(3)), store->Home(second.seq, 1, BlockId(3)));
  EXPECT_NE(store->Home(first.seq, 1, BlockId(4)), store->Home(second.seq, 1, BlockId(4)));
  store->EndSteps(first.seq);
  store->EndSteps(second.seq);
  ExpectRight(*store, {&first, &second});
  store->BeginSteps(second.seq);
  store->Close(second.seq);
  ExpectRight(*store, {&first});
  store->Close(first.seq);
  OpenLike(*store, first, needs, 2);
}

// Damage concerns everybody who shares the block: each makes it again in a place of its own, and nobody new gets it.
TEST_F(StorePrefixTest, ADamagedBlockIsSharedNoLonger) {
  FaultyTier* faulty = nullptr;
  const SequenceNeeds needs = {64, 10000};
  const auto store = MakeFaulty(Smallest({needs, needs, needs}, true) + 8 * ChunkBytes(), &faulty);
  KnownSequence first = {store->Open(needs).value(), {}};
  AppendChunks(*store, &first, 1, 1);
  ASSERT_TRUE(store->Flush().ok());
  faulty->plan().corrupt_write = 1;
  AppendChunks(*store, &first, 1, 2);
  ASSERT_TRUE(store->Flush().ok());
  faulty->plan().corrupt_write = 0;
  AppendChunks(*store, &first, 2, 3);
  ASSERT_EQ(store->stats().prefix.chunks, 4);
  KnownSequence second = OpenLike(*store, first, needs, 4);
  KnownSequence other = {store->Open(needs).value(), {}};
  Status status = Status::Ok();
  for (uint32_t i = 0; i < 8 && status.ok(); ++i) {
    ASSERT_TRUE(Append(*store, &other, 8, 90 + i).ok());
    status = FetchAndCheck(*store, AllWants(*store, {&first, &second}), BlockFetch::Order::kAscending);
  }
  ASSERT_EQ(status.code(), StatusCode::kDataLoss) << status.ToString();
  EXPECT_FALSE(store->TakeLostBlock(other.seq).valid());
  const BlockId lost = store->TakeLostBlock(second.seq);
  ASSERT_TRUE(lost == BlockId(2) || lost == BlockId(3)) << lost.value;
  EXPECT_EQ(store->stats().prefix.chunks, 1) << "it and all that came after it";
  EXPECT_EQ(store->stats().prefix.chunks_damaged, 3u);
  ASSERT_TRUE(store->Truncate(second.seq, kChunk).ok());
  second.salts.resize(kChunk);
  AppendChunks(*store, &second, 3, 60);
  EXPECT_TRUE(FetchAndCheck(*store, AllWants(*store, {&second}), BlockFetch::Order::kAny).ok());
  // The other user meets the damage by itself.
  while (status.code() != StatusCode::kDataLoss || !store->TakeLostBlock(first.seq).valid())
    status = FetchAndCheck(*store, AllWants(*store, {&first}), BlockFetch::Order::kAny);
  ASSERT_TRUE(store->Truncate(first.seq, kChunk).ok());
  first.salts.resize(kChunk);
  AppendChunks(*store, &first, 3, 70);
  ExpectRight(*store, {&first, &second});
}

// A page that was not written, or cannot be read, ends who meets it; nobody takes it over.
TEST_F(StorePrefixTest, WhatFailedIsNotShared) {
  for (const bool write : {false, true}) {
    for (const bool late : {false, true}) {
      FaultyTier* faulty = nullptr;
      const SequenceNeeds needs = {64, 20000};
      const auto store = MakeFaulty(Smallest({needs, needs}, true) + 6 * ChunkBytes(), &faulty);
      const uint64_t base = store->host_used_bytes();
      KnownSequence first = {store->Open(needs).value(), {}};
      AppendChunks(*store, &first, 1, 1);
      ASSERT_TRUE(store->Flush().ok());
      if (late) faulty->plan().delay = 1;
      if (write) faulty->plan().full_write = 1;
      ASSERT_TRUE(Append(*store, &first, kChunk, 2).ok());
      EXPECT_TRUE(Keep(*store, first));
      faulty->plan().full_write = 0;
      if (!write) {
        KnownSequence other = {store->Open(needs).value(), {}};
        for (uint32_t i = 0; i < 8; ++i) ASSERT_TRUE(Append(*store, &other, kChunk, 10 + i).ok());
        faulty->plan().fail_read = 1;
        EXPECT_EQ(FetchAndCheck(*store, {{0, &first, 2}}, BlockFetch::Order::kAny).code(), StatusCode::kIo);
        faulty->plan().fail_read = 0;
        store->Close(other.seq);
      }
      KnownSequence second = OpenLike(*store, first, needs, 1);
      AppendChunks(*store, &second, 2, 20);
      ExpectRight(*store, {&second});
      EXPECT_GT(store->stats().prefix.chunks_damaged, 0u);
      store->Close(first.seq);
      store->Close(second.seq);
      store->DropPrefixes();
      EXPECT_EQ(store->host_used_bytes(), base);
      EXPECT_EQ(store->stats().cold_bytes, 0u);
    }
  }
}

TEST_F(StorePrefixTest, WithoutMemoryNothingIsKeptOrTakenOver) {
  StingyBackend backend;
  StoreOptions options;
  options.layout = SmallLayout();
  options.prefix_chunk_tokens = kChunk;
  const auto store = KvStore::Create(std::move(options), &backend).value();
  KnownSequence first = {store->Open({64, 16}).value(), {}};
  ASSERT_TRUE(Append(*store, &first, kChunk, 1).ok());
  const uint64_t used = store->host_used_bytes();
  backend.left = 0;
  EXPECT_FALSE(Keep(*store, first));
  EXPECT_EQ(store->host_used_bytes(), used);
  backend.left = 1000;
  EXPECT_TRUE(Keep(*store, first));
  const uint64_t kept = store->host_used_bytes();
  for (const int left : {0, 1}) {
    backend.left = left;
    const std::vector<TokenId> tokens = TokensOf(first);
    SharedPrefix shared;
    EXPECT_EQ(store->Open({64, 16}, {"", tokens}, &shared).status().code(), StatusCode::kResourceExhausted);
    EXPECT_EQ(store->host_used_bytes(), kept);
  }
  backend.left = 1000;
  store->Close(first.seq);
  KnownSequence second = OpenLike(*store, first, {64, 16}, 1);
  ExpectRight(*store, {&second});
}

}  // namespace
}  // namespace nosa::kv
