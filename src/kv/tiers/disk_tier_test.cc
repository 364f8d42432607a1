// What is particular to disks; tests/conformance/kv has what every tier does.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include <csignal>
#include <filesystem>
#include <fstream>
#include <map>

#include "io/file.h"
#include "kv/tier.h"
#include "tensor/buffer.h"

namespace nosa::kv {
namespace {

using testing::HasSubstr;

constexpr uint64_t kPage = 256 * kKiB;

class DiskTierTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = std::filesystem::path(testing::TempDir()) / fmt::format("nosa_disk_tier_{}", ::getpid());
    std::filesystem::create_directories(directory_);
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  TierOptions Options(uint64_t capacity) const { return OptionsAt(directory_.string(), capacity); }
  static TierOptions OptionsAt(const std::string& location, uint64_t capacity) {
    TierOptions options;
    options.location = location;
    options.capacity_bytes = capacity;
    return options;
  }

  static Status Wait(Tier& tier) {
    TierCompletion done;
    EXPECT_EQ(tier.Poll({&done, 1}, true), 1u);
    return done.status;
  }

  // Bytes of disk under the open files without a name.
  static uint64_t NamelessBytes() {
    std::map<ino_t, uint64_t> bytes;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd")) {
      struct stat info = {};
      if (::stat(entry.path().c_str(), &info) != 0 || !S_ISREG(info.st_mode) || info.st_nlink != 0) continue;
      bytes[info.st_ino] = static_cast<uint64_t>(info.st_blocks) * 512;
    }
    uint64_t sum = 0;
    for (const auto& [inode, size] : bytes) sum += size;
    return sum;
  }

  std::filesystem::path directory_;
};

TEST_F(DiskTierTest, TakesWhatIsFreeButAReserve) {
  const uint64_t free_bytes = io::FreeDiskBytes(directory_).value();
  const auto tier = MakeTier("disk", Options(0)).value();
  ASSERT_TRUE(tier->SetPageBytes(kPage).ok());
  const uint64_t capacity = static_cast<uint64_t>(tier->capacity_pages()) * kPage;
  EXPECT_LT(capacity, free_bytes);
  EXPECT_GT(capacity, free_bytes / 2);
  EXPECT_THAT(tier->Describe(), HasSubstr("disk in " + directory_.string()));
}

TEST_F(DiskTierTest, RefusesMoreThanIsFreeAndSaysBoth) {
  constexpr uint64_t kMuch = uint64_t{1} << 60;
  const auto tier = MakeTier("disk", Options(kMuch));
  ASSERT_FALSE(tier.ok());
  EXPECT_EQ(tier.status().code(), StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(tier.status().message()),
              testing::MatchesRegex(".*1152921504606846976 bytes.*[0-9]+ bytes.* free"));
  EXPECT_THAT(std::string(tier.status().message()), HasSubstr(directory_.string()));
}

TEST_F(DiskTierTest, NamesThePlaceThatCannotBeUsed) {
  std::ofstream(directory_ / "file") << "x";
  for (const std::string& place :
       {(directory_ / "missing").string(), (directory_ / "file").string(), std::string("/proc")}) {
    const auto tier = MakeTier("disk", OptionsAt(place, kPage));
    ASSERT_FALSE(tier.ok()) << place;
    EXPECT_THAT(std::string(tier.status().message()), HasSubstr(place));
  }
  EXPECT_EQ(MakeTier("disk", {}).status().code(), StatusCode::kInvalidArgument);
}

TEST_F(DiskTierTest, FreedPagesGiveTheirSpaceBackAndNothingHasAName) {
  const auto tier = MakeTier("disk", Options(8 * kPage)).value();
  ASSERT_TRUE(tier->SetPageBytes(kPage).ok());
  const Buffer page = Buffer::Host(kPage, 4096);
  for (size_t i = 0; i < kPage; ++i) page.data()[i] = static_cast<std::byte>(i);
  for (int p = 0; p < 8; ++p) {
    tier->StartWrite(PageId(p), page.span(), 1);
    ASSERT_TRUE(Wait(*tier).ok());
  }
  EXPECT_TRUE(std::filesystem::is_empty(directory_));
  const uint64_t full = NamelessBytes();
  if (full < 8 * kPage) GTEST_SKIP() << "blocks cannot be counted here";
  for (int p = 0; p < 6; ++p) tier->Free(PageId(p));
  EXPECT_LE(NamelessBytes(), full - 6 * kPage);
  EXPECT_EQ(tier->used_bytes(), 2 * kPage);
}

// A limit on the size of files stands for a full disk: both are the operating system's word for "no room".
TEST_F(DiskTierTest, AFullDiskIsResourceExhaustedAndTheTierGoesOn) {
  const auto tier = MakeTier("disk", Options(8 * kPage)).value();
  ASSERT_TRUE(tier->SetPageBytes(kPage).ok());
  const Buffer page = Buffer::Host(kPage, 4096), out = Buffer::Host(kPage, 4096);
  std::fill(page.span().begin(), page.span().end(), std::byte{42});
  struct rlimit before = {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const struct rlimit small = {3 * kPage, before.rlim_max};
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  tier->StartWrite(PageId(5), page.span(), 1);
  const Status status = Wait(*tier);
  EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_EQ(status.code(), StatusCode::kResourceExhausted) << status.ToString();
  EXPECT_THAT(std::string(status.message()), HasSubstr(directory_.string()));

  tier->Free(PageId(5));
  tier->StartWrite(PageId(5), page.span(), 1);
  ASSERT_TRUE(Wait(*tier).ok());
  tier->StartRead(PageId(5), 0, out.span(), 1);
  ASSERT_TRUE(Wait(*tier).ok());
  EXPECT_TRUE(std::ranges::equal(out.span(), page.span()));
}

TEST_F(DiskTierTest, WhatIsNotAlignedIsABug) {
  const auto tier = MakeTier("disk", Options(kPage)).value();
  ASSERT_TRUE(tier->SetPageBytes(kPage).ok());
  if (tier->alignment() == 1) GTEST_SKIP() << tier->Describe();
  const Buffer page = Buffer::Host(2 * kPage, 4096);
  tier->StartWrite(PageId(0), page.span().first(kPage), 1);
  ASSERT_TRUE(Wait(*tier).ok());
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  EXPECT_DEATH(tier->StartRead(PageId(0), 1, page.span().first(kPage / 2), 1), "expected multiples");
  EXPECT_DEATH(tier->StartRead(PageId(0), 0, page.span().subspan(1, kPage / 2), 1), "expected multiples");
  EXPECT_DEATH(tier->StartRead(PageId(0), 0, page.span().first(kPage / 2 + 1), 1), "expected multiples");
  EXPECT_DEATH(tier->StartRead(PageId(1), 0, page.span().first(kPage), 1), "page 1 of 1");
}

}  // namespace
}  // namespace nosa::kv
