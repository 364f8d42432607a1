#include "kv/block_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <limits>
#include <vector>

#include "base/rng.h"

namespace nosa::kv {
namespace {

using testing::HasSubstr;

constexpr BlockIdentity kIdentity = {.binding = 0x1234'5678'9abc'def0, .serial = 42, .page = 7, .lane = 3};

std::vector<std::byte> RandomBytes(size_t size, uint64_t stream) {
  const Philox rng(11, stream);
  std::vector<std::byte> bytes(size);
  for (size_t i = 0; i < size; ++i) bytes[i] = static_cast<std::byte>(rng.Block(i)[0]);
  return bytes;
}

std::vector<std::byte> Sealed(size_t payload, size_t alignment) {
  std::vector<std::byte> record = RandomBytes(RecordBytes(payload, alignment), payload);
  SealRecord(record, payload, kIdentity);
  return record;
}

void ExpectDamaged(ConstBytes record, size_t payload, const BlockIdentity& identity, const char* why) {
  const Status status = VerifyRecord(record, payload, identity);
  EXPECT_EQ(status.code(), StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()), HasSubstr(why));
}

TEST(BlockRecord, SealsAndVerifiesEverySize) {
  for (const size_t payload : {0, 1, 7, 31, 32, 33, 240, 241, 4064, 4065, 32768}) {
    for (const size_t alignment : {1, 64, 4096}) {
      const std::vector<std::byte> before = RandomBytes(RecordBytes(payload, alignment), payload);
      const std::vector<std::byte> record = Sealed(payload, alignment);
      EXPECT_EQ(record.size() % alignment, 0u);
      const Status status = VerifyRecord(record, payload, kIdentity);
      EXPECT_TRUE(status.ok()) << status.ToString();
      EXPECT_TRUE(std::equal(before.begin(), before.begin() + static_cast<ptrdiff_t>(payload), record.begin()));
      for (size_t i = payload + kRecordTrailerBytes; i < record.size(); ++i) EXPECT_EQ(record[i], std::byte{0});
    }
  }
}

// The trailer is a format: other builds and machines read it.
TEST(BlockRecord, LayoutOfTheTrailer) {
  std::vector<std::byte> record(3 + kRecordTrailerBytes);
  std::memcpy(record.data(), "abc", 3);
  SealRecord(record, 3, kIdentity);
  EXPECT_EQ(std::memcmp(record.data() + 3 + 16, "NOSAREC1", 8), 0);
  EXPECT_EQ(record[3 + 24], std::byte{3});
  uint64_t low = 0;
  std::memcpy(&low, record.data() + 3, sizeof(low));
  EXPECT_EQ(low, 0xf53d387ccd8a57a1u) << fmt::format("{:#x}", low);
}

TEST(BlockRecord, EveryFlippedBitIsSeen) {
  constexpr size_t kPayload = 61;
  std::vector<std::byte> record = Sealed(kPayload, 64);
  for (size_t bit = 0; bit < 8 * (kPayload + kRecordTrailerBytes); ++bit) {
    const std::byte mask{static_cast<unsigned char>(1u << (bit % 8))};
    record[bit / 8] ^= mask;
    EXPECT_EQ(VerifyRecord(record, kPayload, kIdentity).code(), StatusCode::kDataLoss) << "bit " << bit;
    record[bit / 8] ^= mask;
  }
  // Padding carries nothing.
  record.back() ^= std::byte{1};
  EXPECT_TRUE(VerifyRecord(record, kPayload, kIdentity).ok());
}

TEST(BlockRecord, EveryTruncationIsSeen) {
  constexpr size_t kPayload = 61;
  const std::vector<std::byte> record = Sealed(kPayload, 1);
  for (size_t size = 0; size < record.size(); ++size) {
    // A copy of its own, so that a read behind the end is the sanitizer's to see.
    const std::vector<std::byte> cut(record.begin(), record.begin() + static_cast<ptrdiff_t>(size));
    ExpectDamaged(cut, kPayload, kIdentity, "cut short");
  }
  ExpectDamaged(record, std::numeric_limits<size_t>::max(), kIdentity, "cut short");
  ExpectDamaged({}, 0, kIdentity, "cut short");
}

TEST(BlockRecord, SaysWhatDiffers) {
  constexpr size_t kPayload = 100;
  std::vector<std::byte> record = Sealed(kPayload, 1);
  ExpectDamaged(std::vector<std::byte>(record.size()), kPayload, kIdentity, "never written");
  record[kPayload + 24] = std::byte{99};
  ExpectDamaged(record, kPayload, kIdentity, "expected a payload of 100 bytes, found one of 99");
  record[kPayload + 24] = std::byte{100};
  record[5] ^= std::byte{1};
  ExpectDamaged(record, kPayload, kIdentity, "expected checksum");
}

TEST(BlockRecord, AnotherIdentityIsDamage) {
  const std::vector<std::byte> record = Sealed(100, 512);
  BlockIdentity other = kIdentity;
  other.binding ^= uint64_t{1} << 63;
  ExpectDamaged(record, 100, other, "another block");
  other = kIdentity;
  other.serial += 1;
  ExpectDamaged(record, 100, other, "another block");
  other = kIdentity;
  other.page += 1;
  ExpectDamaged(record, 100, other, "another block");
  other = kIdentity;
  other.lane += 1;
  ExpectDamaged(record, 100, other, "another block");
  other = kIdentity;
  std::swap(other.page, other.lane);
  ExpectDamaged(record, 100, other, "another block");
}

// Damage as disks and networks make it: ranges overwritten, moved, zeroed; several at once.
TEST(BlockRecord, RandomDamageIsSeen) {
  constexpr size_t kPayload = 300;
  const std::vector<std::byte> good = Sealed(kPayload, 1);
  const Philox rng(5);
  for (uint64_t round = 0; round < 3000; ++round) {
    std::vector<std::byte> bad = good;
    const auto draw = rng.Block(round);
    for (uint32_t i = 0; i < 1 + draw[3] % 3; ++i) {
      const auto place = rng.Block((uint64_t{1} << 32) + 3 * round + i);
      const size_t begin = place[0] % bad.size(), length = 1 + place[1] % (bad.size() - begin);
      if (draw[0] % 3 == 0) std::memset(bad.data() + begin, 0, length);
      if (draw[0] % 3 == 1) std::memmove(bad.data() + begin, bad.data() + place[2] % (bad.size() - length + 1), length);
      if (draw[0] % 3 == 2) bad[begin] = static_cast<std::byte>(place[3]);
    }
    EXPECT_EQ(VerifyRecord(bad, kPayload, kIdentity).ok(), bad == good) << "round " << round;
  }
}

}  // namespace
}  // namespace nosa::kv
