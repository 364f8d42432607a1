// Random lives of several sequences in one store, against a model of their bytes, some beginning with what others have
// left: what is read is right or said to be damaged, budgets are never passed, and in the end everything has been given
// back.
#include "kv/store.h"

#include <gtest/gtest.h>

#include <ostream>
#include <set>

#include "base/rng.h"
#include "kv/store_test_util.h"
#include "tests/conformance/kv/faulty_tier.h"

namespace nosa::kv {
namespace {

struct StressCase {
  std::string name;
  std::string tier;  // empty: none
  FaultPlan plan = {};
  std::string codec = "raw";
  std::string policy = "importance-lru";
  uint64_t slack_bytes = 1000;  // beyond the smallest budget
  bool direct = false;
  friend std::ostream& operator<<(std::ostream& out, const StressCase& c) { return out << c.name; }
};

// Sequences of up to this many tokens, this many at once.
constexpr int kMaxTokens = 90, kSequences = 4, kMaxAppend = 24;
// What can be kept of them: two blocks at a time, with this much beside them.
constexpr int kChunk = 8;
constexpr uint64_t kKeptBytes = 24;

class Life {
 public:
  Life(const StressCase& c, uint64_t seed) : case_(c), rng_(seed, 5) {
    // A tail that was cut out of a block, filled up and sealed again has been through the codec more than once.
    tolerance_ = 3 * static_cast<float>(MakeCodec(c.codec).value()->Error().ceiling);
    const std::vector<SequenceNeeds> needs(kSequences, Needs());
    store_ = Make(seed, kNoLimit);
    budget_ = store_->SmallestBudget(needs) + c.slack_bytes;
    store_ = Make(seed, budget_);
    base_ = store_->host_used_bytes();
  }

  void Run(int steps) {
    for (int i = 0; i < steps && !testing::Test::HasFatalFailure(); ++i) {
      Step();
      ASSERT_LE(store_->host_used_bytes(), budget_);
      ASSERT_LE(store_->stats().cold_bytes, MostColdBytes());
    }
    while (!sequences_.empty()) Close(0);
    store_->DropPrefixes();
    EXPECT_EQ(store_->host_used_bytes(), base_) << "everything is given back";
    EXPECT_EQ(store_->stats().cold_bytes, 0u);
    EXPECT_LE(store_->stats().host_peak_bytes, budget_);
    // Damage and failures left nothing behind: the store takes a full house again.
    if (faulty_ != nullptr) faulty_->plan() = {.delay = 0.5};
    for (int i = 0; i < kSequences; ++i) ASSERT_TRUE(Open());
    for (KnownSequence& sequence : sequences_) {
      while (sequence.length() + kMaxAppend <= kMaxTokens)
        ASSERT_TRUE(Append(*store_, &sequence, kMaxAppend, ++salt_).ok());
    }
    const Status status =
        FetchAndCheck(*store_, AllWants(*store_, All()), BlockFetch::Order::kAscending, 0, tolerance_);
    EXPECT_TRUE(status.ok()) << status.ToString();
  }

  uint64_t damaged() const { return store_->stats().damaged_blocks; }
  uint64_t fetched() const { return store_->stats().blocks_fetched; }
  int failures() const { return failures_; }
  uint64_t reused() const { return store_->stats().prefix.tokens_reused; }

 private:
  // Beside much that is not slots, the part of the budget that prefixes may have is worth something.
  static SequenceNeeds Needs() { return {kMaxTokens, 4096}; }

  std::unique_ptr<KvStore> Make(uint64_t seed, uint64_t budget) {
    StoreOptions options;
    options.layout = SmallLayout();
    options.host_budget_bytes = budget;
    options.codec = case_.codec;
    options.policy = case_.policy;
    options.max_append_tokens = kMaxAppend;
    options.prefix_chunk_tokens = kChunk;
    if (!case_.tier.empty()) {
      auto tier = std::make_unique<FaultyTier>(SmallTier(case_.tier, case_.direct), seed, case_.plan);
      faulty_ = tier.get();
      options.cold = std::move(tier);
    }
    return KvStore::Create(std::move(options), backend_.get()).value();
  }

  uint32_t Draw(uint32_t n) { return rng_.Block(counter_++)[0] % n; }
  std::vector<const KnownSequence*> All() const {
    std::vector<const KnownSequence*> all;
    for (const KnownSequence& sequence : sequences_) all.push_back(&sequence);
    return all;
  }
  uint64_t MostColdBytes() const {
    uint64_t blocks = 0;
    for (const KnownSequence& sequence : sequences_)
      blocks += static_cast<uint64_t>(store_->sealed_blocks(sequence.seq));
    return blocks * store_->block_record_bytes() * static_cast<uint64_t>(store_->layout().lanes()) +
           store_->stats().prefix.retained_bytes;
  }

  // A sequence's tokens are its salts.
  static std::vector<TokenId> TokensOf(const std::vector<uint32_t>& salts) { return {salts.begin(), salts.end()}; }
  static std::byte MarkOf(const std::vector<uint32_t>& salts, size_t end) {
    return static_cast<std::byte>(salts[end - 1] * 31 + salts[end - kChunk] + end);
  }

  // What it takes over has the bytes that were kept with it.
  void TakeOver(const SharedPrefix& shared, const std::vector<uint32_t>& like, KnownSequence* sequence) {
    size_t end = sequence->salts.size();
    EXPECT_EQ(shared.first, sequence->length());
    for (const ConstBytes bytes : shared.chunks) {
      end += kChunk;
      ASSERT_LE(end, like.size());
      ASSERT_EQ(bytes.size(), kKeptBytes);
      for (const std::byte b : bytes) ASSERT_EQ(b, MarkOf(like, end));
    }
    sequence->salts.assign(like.begin(), like.begin() + static_cast<ptrdiff_t>(end));
    ASSERT_EQ(store_->length(sequence->seq), sequence->length());
  }

  // Of all that were ever kept, and the beginning of something else.
  std::vector<uint32_t> Remembered() {
    std::vector<uint32_t> salts;
    if (!remembered_.empty()) salts = remembered_[Draw(static_cast<uint32_t>(remembered_.size()))];
    if (salts.size() > 1 && Draw(3) == 0) salts.resize(1 + Draw(static_cast<uint32_t>(salts.size())));
    return salts;
  }

  void Keep(const KnownSequence& sequence) {
    if (sequence.length() == 0 || sequence.length() % kChunk != 0) return;
    const std::vector<TokenId> tokens = TokensOf(sequence.salts);
    const MutableBytes bytes = store_->KeepPrefix(sequence.seq, {"", tokens}, kKeptBytes);
    std::fill(bytes.begin(), bytes.end(), MarkOf(sequence.salts, sequence.salts.size()));
    if (!bytes.empty()) remembered_.push_back(sequence.salts);
  }

  // The next chunk as others have it: only if what is before it is all theirs, too.
  void Share(KnownSequence& sequence) {
    const std::vector<uint32_t> like = Remembered();
    if (sequence.length() % kChunk != 0 || like.size() < sequence.salts.size()) return;
    if (!std::equal(sequence.salts.begin(), sequence.salts.end(), like.begin())) return;
    const std::vector<TokenId> tokens = TokensOf(like);
    SharedPrefix shared;
    store_->SharePrefix(sequence.seq, {"", tokens}, &shared);
    TakeOver(shared, like, &sequence);
  }

  bool Open() {
    const std::vector<uint32_t> like = Remembered();
    const std::vector<TokenId> tokens = TokensOf(like);
    SharedPrefix shared;
    const auto seq = store_->Open(Needs(), {"", tokens}, &shared);
    EXPECT_TRUE(seq.ok()) << seq.status().ToString();
    if (!seq.ok()) return false;
    for (const std::byte b : store_->side(*seq)) EXPECT_EQ(b, std::byte{0});
    std::fill(store_->side(*seq).begin(), store_->side(*seq).end(), std::byte{0xee});
    sequences_.push_back({*seq, {}});
    TakeOver(shared, like, &sequences_.back());
    return true;
  }

  void Close(size_t i) {
    store_->Close(sequences_[i].seq);
    sequences_.erase(sequences_.begin() + static_cast<ptrdiff_t>(i));
  }

  void Step() {
    store_->NextStep();
    if (sequences_.empty()) return void(Open());
    const size_t i = Draw(static_cast<uint32_t>(sequences_.size()));
    KnownSequence& sequence = sequences_[i];
    switch (Draw(14)) {
      case 0: return sequences_.size() < kSequences ? void(Open()) : void();
      case 1: return Draw(4) == 0 ? Close(i) : void();
      case 2: return Truncate(i);
      case 3: return ExpectOpenBlocks(*store_, sequence, tolerance_);
      case 4:
      case 5: return StepTogether();
      case 6:
      case 7:
      case 8: return Fetch();
      case 9: return Share(sequence);
      case 10: return Draw(8) == 0 ? store_->DropPrefixes() : void();
      default: return Extend(i);
    }
  }

  // What a failure means: damage is made again from a block boundary, anything else ends a sequence.
  void Settle(const Status& status, size_t asked) {
    if (status.ok()) return;
    ++failures_;
    ASSERT_TRUE(status.code() == StatusCode::kDataLoss || status.code() == StatusCode::kIo ||
                status.code() == StatusCode::kResourceExhausted)
        << status.ToString();
    if (status.code() != StatusCode::kDataLoss) {
      EXPECT_GT(faulty_->counts().loud(), 0u) << status.ToString();
      return asked < sequences_.size() && Draw(2) == 0 ? Close(asked) : CloseFailed();
    }
    EXPECT_GT(faulty_->counts().silent(), 0u) << status.ToString();
    int owners = 0;
    for (KnownSequence& sequence : sequences_) {
      const BlockId lost = store_->TakeLostBlock(sequence.seq);
      if (!lost.valid()) continue;
      ++owners;
      ASSERT_LT(lost.value, store_->sealed_blocks(sequence.seq));
      ASSERT_TRUE(store_->Truncate(sequence.seq, lost.value * store_->layout().block_size).ok());
      sequence.salts.resize(static_cast<size_t>(store_->length(sequence.seq)));
    }
    EXPECT_EQ(owners, 1);
  }

  // Ends the sequences whose writes failed; what others have begun is forgotten.
  void CloseFailed() {
    for (size_t i = sequences_.size(); i-- > 0;) {
      if (!store_->BeginAppend(sequences_[i].seq, 0).ok()) Close(i);
    }
  }

  void Truncate(size_t i) {
    KnownSequence& sequence = sequences_[i];
    const int tokens = static_cast<int>(Draw(static_cast<uint32_t>(sequence.length() + 1)));
    const Status status = store_->Truncate(sequence.seq, tokens);
    if (status.ok()) sequence.salts.resize(static_cast<size_t>(tokens));
    ASSERT_EQ(store_->length(sequence.seq), sequence.length());
    ExpectOpenBlocks(*store_, sequence, tolerance_);
    Settle(status, i);
  }

  void Extend(size_t i) {
    KnownSequence& sequence = sequences_[i];
    const int most = std::min(kMaxAppend, kMaxTokens - sequence.length());
    const int to_chunk = kChunk - sequence.length() % kChunk;
    const int tokens =
        to_chunk <= most && Draw(4) != 0 ? to_chunk : static_cast<int>(Draw(static_cast<uint32_t>(most + 1)));
    if (Draw(4) == 0) {  // begun, written, and given up
      if (!store_->BeginAppend(sequence.seq, tokens).ok()) return Close(i);
      for (int pos = sequence.length(); pos < sequence.length() + tokens; ++pos)
        WriteToken(*store_, sequence.seq, pos, 0xdead);
      if (Draw(2) == 0) return Settle(store_->Truncate(sequence.seq, sequence.length()), i);
    }
    const Status appended = Append(*store_, &sequence, tokens, ++salt_);
    if (appended.ok()) Keep(sequence);
    Settle(appended, i);
  }

  // One token of every sequence that has room, as a decode step.
  void StepTogether() {
    std::vector<KnownSequence*> batch;
    for (KnownSequence& sequence : sequences_) {
      if (sequence.length() < kMaxTokens) batch.push_back(&sequence);
    }
    for (const KnownSequence* sequence : batch) {
      if (!store_->BeginAppend(sequence->seq, 1).ok()) return CloseFailed();
    }
    ++salt_;
    for (KnownSequence* sequence : batch) {
      WriteToken(*store_, sequence->seq, sequence->length(), salt_);
      store_->CommitAppend(sequence->seq);
      sequence->salts.push_back(salt_);
    }
  }

  void Fetch() {
    std::vector<KnownWant> wants;
    const uint32_t share = 1 + Draw(8);
    for (const KnownWant& want : AllWants(*store_, All())) {
      if (Draw(8) < share) wants.push_back(want);
    }
    const auto order = Draw(2) == 0 ? BlockFetch::Order::kAny : BlockFetch::Order::kAscending;
    Settle(FetchAndCheck(*store_, wants, order, Draw(4), tolerance_), sequences_.size());
  }

  StressCase case_;
  Philox rng_;
  uint64_t counter_ = 0;
  float tolerance_ = 0;
  std::unique_ptr<ops::Backend> backend_ = ops::reference::MakeReferenceBackend();
  FaultyTier* faulty_ = nullptr;
  std::unique_ptr<KvStore> store_;
  uint64_t budget_ = 0, base_ = 0;
  uint32_t salt_ = 0;
  std::vector<std::vector<uint32_t>> remembered_;
  int failures_ = 0;
  std::vector<KnownSequence> sequences_;
};

class KvStoreStress : public testing::TestWithParam<StressCase> {};

TEST_P(KvStoreStress, RightOrDamagedAndGivenBack) {
  uint64_t fetched = 0, damaged = 0, reused = 0;
  int failures = 0;
  const int lives = GetParam().tier == "disk" ? 4 : 12;
  for (uint64_t seed = 0; seed < static_cast<uint64_t>(lives); ++seed) {
    SCOPED_TRACE(fmt::format("seed {}", seed));
    Life life(GetParam(), seed);
    life.Run(300);
    if (HasFatalFailure()) return;
    fetched += life.fetched();
    damaged += life.damaged();
    failures += life.failures();
    reused += life.reused();
  }
  std::printf("%-24s %llu blocks read, %llu damaged, %d failures, %llu tokens taken over\n", GetParam().name.c_str(),
              static_cast<unsigned long long>(fetched), static_cast<unsigned long long>(damaged), failures,
              static_cast<unsigned long long>(reused));
  const FaultPlan& plan = GetParam().plan;
  EXPECT_EQ(fetched > 0, !GetParam().tier.empty());
  EXPECT_EQ(damaged > 0, plan.corrupt_read + plan.corrupt_write + plan.torn_write + plan.misplaced_read > 0);
}

constexpr FaultPlan kLate = {.delay = 0.4, .max_delay = 6};
constexpr FaultPlan kDamage = {
    .corrupt_read = 0.004, .corrupt_write = 0.02, .torn_write = 0.02, .misplaced_read = 0.004, .delay = 0.2};
constexpr FaultPlan kErrors = {.fail_read = 0.004, .fail_write = 0.02, .full_write = 0.02, .delay = 0.4};
constexpr FaultPlan kEverything = {.fail_read = 0.002,
                                   .fail_write = 0.01,
                                   .full_write = 0.01,
                                   .corrupt_read = 0.004,
                                   .corrupt_write = 0.02,
                                   .torn_write = 0.01,
                                   .misplaced_read = 0.004,
                                   .delay = 0.4};

INSTANTIATE_TEST_SUITE_P(
    Stores, KvStoreStress,
    testing::Values(
        StressCase{.name = "no_tier", .tier = ""}, StressCase{.name = "memory", .tier = "memory"},
        StressCase{.name = "memory_late", .tier = "memory", .plan = kLate, .slack_bytes = 0},
        StressCase{
            .name = "memory_late_slack_lru", .tier = "memory", .plan = kLate, .policy = "lru", .slack_bytes = 4000},
        StressCase{.name = "memory_int8_late", .tier = "memory", .plan = kLate, .codec = "int8"},
        StressCase{.name = "memory_damage", .tier = "memory", .plan = kDamage},
        StressCase{.name = "memory_int8_damage", .tier = "memory", .plan = kDamage, .codec = "int8"},
        StressCase{.name = "memory_errors", .tier = "memory", .plan = kErrors},
        StressCase{.name = "memory_everything", .tier = "memory", .plan = kEverything},
        StressCase{.name = "disk", .tier = "disk", .slack_bytes = 0},
        StressCase{.name = "disk_direct_late", .tier = "disk", .plan = kLate, .direct = true},
        StressCase{.name = "disk_everything", .tier = "disk", .plan = kEverything, .slack_bytes = 3000}),
    [](const auto& info) { return info.param.name; });

}  // namespace
}  // namespace nosa::kv
