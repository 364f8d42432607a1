// What every storage tier must do. A program instantiates it over its tiers:
//   INSTANTIATE_TEST_SUITE_P(Mine, TierConformance, testing::ValuesIn(...), CaseName);
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <cstring>
#include <map>
#include <memory>
#include <ostream>
#include <set>
#include <string>
#include <vector>

#include "base/rng.h"
#include "kv/tier.h"
#include "tensor/buffer.h"

namespace nosa::kv {

struct TierCase {
  std::string name;  // of the case: letters, digits, hyphens
  std::string tier;
  Result<std::unique_ptr<Tier>> (*make)(std::string_view tier, const TierOptions& options);
  bool direct_io = true;
  io::AsyncBackend backend = io::AsyncBackend::kAuto;
  friend std::ostream& operator<<(std::ostream& out, const TierCase& c) { return out << c.name; }
};

class TierConformance : public testing::TestWithParam<TierCase> {
 protected:
  static constexpr uint64_t kPage = 3 * 4096;  // a multiple of every alignment

  std::unique_ptr<Tier> Make(uint64_t capacity_bytes) const {
    TierOptions options;
    options.location = testing::TempDir();
    options.capacity_bytes = capacity_bytes;
    options.direct_io = GetParam().direct_io;
    options.io.backend = GetParam().backend;
    return GetParam().make(GetParam().tier, options).value();
  }
  std::unique_ptr<Tier> MakeWithPages(uint64_t pages) const {
    std::unique_ptr<Tier> tier = Make(pages * kPage);
    const Status status = tier->SetPageBytes(kPage);
    EXPECT_TRUE(status.ok()) << status.ToString();
    return tier;
  }

  // Memory as transfers need it, filled with the bytes of (page, version).
  static Buffer Memory(uint64_t bytes) { return Buffer::Host(RoundUp(bytes, 4096), 4096); }
  static std::byte Pattern(int page, uint64_t version, uint64_t at) {
    return static_cast<std::byte>((static_cast<uint64_t>(page) * 131 + version * 29 + at * 7 + (at >> 8)) & 0xff);
  }
  static Buffer PageOf(int page, uint64_t version) {
    Buffer memory = Memory(kPage);
    for (uint64_t i = 0; i < kPage; ++i) memory.data()[i] = Pattern(page, version, i);
    return memory;
  }
  static void ExpectPattern(ConstBytes bytes, int page, uint64_t version, uint64_t offset) {
    for (uint64_t i = 0; i < bytes.size(); ++i) {
      ASSERT_EQ(bytes[i], Pattern(page, version, offset + i)) << "page " << page << ", byte " << offset + i;
    }
  }

  // Waits for all that is in flight; every transfer must succeed.
  static std::multiset<uint64_t> Drain(Tier& tier) {
    std::multiset<uint64_t> tags;
    std::array<TierCompletion, 7> done;
    while (const size_t n = tier.Poll(done, true)) {
      for (size_t i = 0; i < n; ++i) {
        EXPECT_TRUE(done[i].status.ok()) << done[i].status.ToString();
        tags.insert(done[i].tag);
      }
    }
    EXPECT_EQ(tier.in_flight(), 0u);
    return tags;
  }
};

TEST_P(TierConformance, SaysWhatItIs) {
  const auto tier = MakeWithPages(2);
  EXPECT_FALSE(tier->Describe().empty());
  EXPECT_EQ(tier->Describe().find('\n'), std::string::npos);
  const uint64_t alignment = tier->alignment();
  EXPECT_GT(alignment, 0u);
  EXPECT_EQ(alignment & (alignment - 1), 0u);
  EXPECT_EQ(tier->in_flight(), 0u);
  EXPECT_EQ(tier->used_bytes(), 0u);
}

TEST_P(TierConformance, TheCapacityIsWholePagesAtMost) {
  for (const uint64_t pages : {1, 2, 9}) {
    for (const uint64_t rest : {uint64_t{0}, uint64_t{1}, kPage - 1}) {
      const auto tier = Make(pages * kPage + rest);
      ASSERT_TRUE(tier->SetPageBytes(kPage).ok());
      EXPECT_EQ(tier->capacity_pages(), static_cast<int64_t>(pages));
    }
  }
}

TEST_P(TierConformance, RefusesPagesThatDoNotFit) {
  const Status status = Make(kPage - 1)->SetPageBytes(kPage);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted);
  for (const uint64_t side : {kPage - 1, kPage}) {
    EXPECT_NE(status.message().find(std::to_string(side)), std::string::npos) << status.ToString();
  }
}

TEST_P(TierConformance, RefusesPagesThatAreNotAligned) {
  const auto tier = Make(8 * kPage);
  if (tier->alignment() == 1) return;
  EXPECT_EQ(tier->SetPageBytes(kPage + 1).code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(tier->SetPageBytes(kPage + tier->alignment() / 2).code(), StatusCode::kInvalidArgument);
  EXPECT_TRUE(tier->SetPageBytes(kPage).ok());
}

TEST_P(TierConformance, PollOfNothingReturnsAtOnce) {
  const auto tier = MakeWithPages(1);
  std::array<TierCompletion, 4> done;
  EXPECT_EQ(tier->Poll(done, false), 0u);
  EXPECT_EQ(tier->Poll(done, true), 0u);
}

TEST_P(TierConformance, FullTierHoldsEveryPageAndNeverMoreThanItsCapacity) {
  constexpr int kPages = 24;
  const auto tier = MakeWithPages(kPages);
  std::vector<Buffer> sources;
  for (int p = 0; p < kPages; ++p) {
    sources.push_back(PageOf(p, 1));
    tier->StartWrite(PageId(p), sources.back().span().first(kPage), static_cast<uint64_t>(p));
    EXPECT_LE(tier->used_bytes(), kPages * kPage);
  }
  EXPECT_EQ(Drain(*tier).size(), size_t{kPages});
  EXPECT_EQ(tier->used_bytes(), kPages * kPage);
  sources.clear();  // what was written is the tier's own
  for (int p = kPages - 1; p >= 0; --p) {
    Buffer out = Memory(kPage);
    tier->StartRead(PageId(p), 0, out.span().first(kPage), 1);
    Drain(*tier);
    ExpectPattern(out.span().first(kPage), p, 1, 0);
  }
  for (int p = 0; p < kPages; ++p) tier->Free(PageId(p));
  EXPECT_EQ(tier->used_bytes(), 0u);
}

TEST_P(TierConformance, FreedPagesServeAgain) {
  const auto tier = MakeWithPages(2);
  tier->Free(PageId(1));  // never written: nothing to give back
  EXPECT_EQ(tier->used_bytes(), 0u);
  for (uint64_t version = 0; version < 5; ++version) {
    const Buffer source = PageOf(1, version), out = Memory(kPage);
    tier->StartWrite(PageId(1), source.span().first(kPage), 1);
    Drain(*tier);
    EXPECT_EQ(tier->used_bytes(), kPage);
    tier->StartRead(PageId(1), 0, out.span().first(kPage), 2);
    Drain(*tier);
    ExpectPattern(out.span().first(kPage), 1, version, 0);
    if (version % 2 == 0) tier->Free(PageId(1));  // else: written over
  }
}

TEST_P(TierConformance, ManyInFlightEachCompletesOnce) {
  constexpr int kPages = 4, kReads = 1000;
  const auto tier = MakeWithPages(kPages);
  std::vector<Buffer> sources;
  for (int p = 0; p < kPages; ++p) {
    sources.push_back(PageOf(p, 3));
    tier->StartWrite(PageId(p), sources.back().span().first(kPage), 0);
  }
  Drain(*tier);
  const uint64_t bytes = std::max<uint64_t>(tier->alignment(), 64);
  std::vector<Buffer> outs;
  const auto offset_of = [&](int i) { return static_cast<uint64_t>(i) * bytes % (kPage - bytes) / bytes * bytes; };
  for (int i = 0; i < kReads; ++i) {
    outs.push_back(Memory(bytes));
    tier->StartRead(PageId(i % kPages), offset_of(i), outs.back().span().first(bytes), static_cast<uint64_t>(i) << 40);
  }
  EXPECT_EQ(tier->in_flight(), size_t{kReads});
  const std::multiset<uint64_t> tags = Drain(*tier);
  ASSERT_EQ(tags.size(), size_t{kReads});
  for (int i = 0; i < kReads; ++i) {
    EXPECT_EQ(tags.count(static_cast<uint64_t>(i) << 40), 1u);
    ExpectPattern(outs[static_cast<size_t>(i)].span().first(bytes), i % kPages, 3, offset_of(i));
  }
}

// Sanitizers judge: nothing is borrowed after destruction.
TEST_P(TierConformance, DestructionWaitsForTransfersInFlight) {
  constexpr int kPages = 32;
  std::vector<Buffer> memory;
  auto tier = MakeWithPages(kPages);
  for (int p = 0; p < kPages / 2; ++p) {
    memory.push_back(PageOf(p, 1));
    tier->StartWrite(PageId(p), memory.back().span().first(kPage), 1);
  }
  Drain(*tier);
  for (int p = 0; p < kPages; ++p) {
    memory.push_back(PageOf(p, 2));
    const MutableBytes bytes = memory.back().span().first(kPage);
    if (p < kPages / 2) tier->StartRead(PageId(p), 0, bytes, 2);
    if (p >= kPages / 2) tier->StartWrite(PageId(p), bytes, 3);
  }
  EXPECT_EQ(tier->in_flight(), size_t{kPages});
  tier.reset();
  memory.clear();
}

// Random lives of pages against a model of what each holds.
class TierModel {
 public:
  static constexpr int kPages = 12;

  TierModel(Tier& tier, uint64_t page_bytes, uint64_t seed)
      : tier_(tier), page_bytes_(page_bytes), rng_(seed), pages_(kPages) {}

  void Step() {
    const int page = static_cast<int>(Draw() % kPages);
    switch (Draw() % 8) {
      case 0:
      case 1: Write(page); break;
      case 2: Free(page); break;
      case 3: Poll(Draw() % 2 == 0); break;
      default: Read(page); break;
    }
    EXPECT_EQ(tier_.in_flight(), transfers_.size());
    CheckUse();
  }
  void Finish() {
    while (!transfers_.empty() && !testing::Test::HasFailure()) Poll(true);
  }

 private:
  struct Page {
    bool written = false;
    bool writing = false;
    int reading = 0;
    uint64_t version = 0;
  };
  struct Transfer {
    int page = 0;
    bool write = false;
    uint64_t offset = 0;
    uint64_t bytes = 0;
    Buffer memory;
  };

  uint32_t Draw() { return rng_.Block(counter_++)[0]; }
  Page& At(int page) { return pages_[static_cast<size_t>(page)]; }
  std::byte Content(int page, uint64_t at) {
    return static_cast<std::byte>((At(page).version * 89 + static_cast<uint64_t>(page) * 31 + at * 3 + (at >> 7)) &
                                  0xff);
  }

  void Write(int page) {
    Page& p = At(page);
    if (p.writing || p.reading > 0) return;
    p.writing = true;
    p.version = ++versions_;
    Transfer t = {.page = page, .write = true, .memory = Buffer::Host(page_bytes_, 4096)};
    for (uint64_t i = 0; i < page_bytes_; ++i) t.memory.data()[i] = Content(page, i);
    const MutableBytes bytes = t.memory.span();
    transfers_.emplace(++tag_, std::move(t));
    tier_.StartWrite(PageId(page), bytes, tag_);
  }

  void Read(int page) {
    Page& p = At(page);
    if (!p.written || p.writing) return;
    const uint64_t unit = tier_.alignment(), units = page_bytes_ / unit;
    const uint64_t begin = Draw() % units, count = 1 + Draw() % (units - begin);
    ++p.reading;
    Transfer t = {.page = page,
                  .offset = begin * unit,
                  .bytes = count * unit,
                  .memory = Buffer::Host(RoundUp(count * unit, 64), 4096)};
    const MutableBytes bytes = t.memory.span().first(t.bytes);
    transfers_.emplace(++tag_, std::move(t));
    tier_.StartRead(PageId(page), begin * unit, bytes, tag_);
  }

  void Free(int page) {
    Page& p = At(page);
    if (!p.written || p.writing || p.reading > 0) return;
    tier_.Free(PageId(page));
    p.written = false;
  }

  void Poll(bool wait) {
    std::vector<TierCompletion> done(1 + Draw() % 9);
    const size_t in_flight = transfers_.size();
    const size_t n = tier_.Poll(done, wait);
    ASSERT_LE(n, done.size());
    EXPECT_TRUE(!wait || in_flight == 0 || n > 0);
    for (size_t i = 0; i < n; ++i) Complete(done[i]);
  }

  void Complete(const TierCompletion& done) {
    ASSERT_TRUE(done.status.ok()) << done.status.ToString();
    const auto at = transfers_.find(done.tag);
    ASSERT_NE(at, transfers_.end()) << "tag " << done.tag;
    const Transfer& t = at->second;
    Page& p = At(t.page);
    if (t.write) {
      p.writing = false;
      p.written = true;
    } else {
      --p.reading;
      for (uint64_t i = 0; i < t.bytes; ++i)
        ASSERT_EQ(t.memory.data()[i], Content(t.page, t.offset + i)) << "page " << t.page;
    }
    transfers_.erase(at);
  }

  // Between what is surely there and what may already be.
  void CheckUse() const {
    uint64_t least = 0, most = 0;
    for (const Page& p : pages_) {
      least += p.written ? page_bytes_ : 0;
      most += p.written || p.writing ? page_bytes_ : 0;
    }
    EXPECT_LE(least, tier_.used_bytes());
    EXPECT_LE(tier_.used_bytes(), most);
  }

  Tier& tier_;
  const uint64_t page_bytes_;
  const Philox rng_;
  uint64_t counter_ = 0;
  uint64_t versions_ = 0;
  uint64_t tag_ = 0;
  std::vector<Page> pages_;
  std::map<uint64_t, Transfer> transfers_;  // by tag
};

TEST_P(TierConformance, RandomLivesOfPages) {
  for (uint64_t seed = 0; seed < 6; ++seed) {
    const auto tier = MakeWithPages(TierModel::kPages);
    TierModel model(*tier, kPage, seed);
    for (int i = 0; i < 600; ++i) {
      model.Step();
      ASSERT_FALSE(HasFailure()) << "seed " << seed << ", event " << i;
    }
    model.Finish();
  }
}

}  // namespace nosa::kv
