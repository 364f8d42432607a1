#include "io/transfer.h"

#include <fcntl.h>

#include <cerrno>

#include "io/test_util.h"

namespace nosa::io::internal {
namespace {

Transfer Reading(uint64_t bytes) {
  return {.request = {.kind = AsyncRequest::Kind::kRead, .offset = 100, .bytes = bytes}, .name = "the file"};
}
Transfer Writing(uint64_t bytes) {
  Transfer t = Reading(bytes);
  t.request.kind = AsyncRequest::Kind::kWrite;
  return t;
}

TEST(Transfer, NoBytesNeedNoCall) {
  EXPECT_OK(Begin(Reading(0)).value());
  EXPECT_FALSE(Begin(Reading(1)).has_value());
}

TEST(Transfer, RefusesRangesNoFileHas) {
  Transfer t = Reading(1);
  t.request.offset = UINT64_MAX;  // io_uring: "the current position"
  EXPECT_THAT(*Begin(t), Fails(StatusCode::kIo, "cannot read 1 bytes at offset 18446744073709551615 of the file"));
  t.request.offset = INT64_MAX;
  EXPECT_THAT(*Begin(t), Fails(StatusCode::kIo, "a file ends at 9223372036854775807"));
  t.request.offset = INT64_MAX - 1;
  EXPECT_FALSE(Begin(t).has_value());
}

TEST(Transfer, GoesOnAfterShortCalls) {
  Transfer t = Reading(10);
  EXPECT_FALSE(Advance(&t, 3).has_value());
  EXPECT_EQ(t.offset(), 103u);
  EXPECT_EQ(t.bytes(), 7u);
  EXPECT_FALSE(Advance(&t, -EINTR).has_value());
  EXPECT_FALSE(Advance(&t, 6).has_value());
  EXPECT_EQ(t.bytes(), 1u);
  EXPECT_OK(Advance(&t, 1).value());
}

TEST(Transfer, CutsCallsAtMaxChunk) {
  Transfer t = Reading(kMaxChunk + 1);
  EXPECT_EQ(t.bytes(), kMaxChunk);
  EXPECT_FALSE(Advance(&t, static_cast<int64_t>(kMaxChunk)).has_value());
  EXPECT_EQ(t.bytes(), 1u);
}

TEST(Transfer, RetriesEagainButNotForever) {
  Transfer t = Reading(2);
  for (int i = 0; i < 500; ++i) ASSERT_FALSE(Advance(&t, -EAGAIN).has_value());
  EXPECT_FALSE(Advance(&t, 1).has_value());  // progress starts the count again
  int calls = 1;
  std::optional<Status> outcome;
  while (!(outcome = Advance(&t, -EAGAIN)).has_value() && calls < 100000) ++calls;
  EXPECT_EQ(calls, 1000);
  EXPECT_THAT(*outcome, Fails(StatusCode::kIo, "Resource temporarily unavailable"));
}

TEST(Transfer, EndOfFileSaysHowFarItCame) {
  Transfer t = Reading(10);
  EXPECT_FALSE(Advance(&t, 4).has_value());
  EXPECT_THAT(*Advance(&t, 0), Fails(StatusCode::kDataLoss,
                                     "expected 10 bytes at offset 100 of the file, the file ends after 4 of them"));
}

TEST(Transfer, AWriteThatTakesNothingIsAnError) {
  Transfer t = Writing(10);
  EXPECT_THAT(*Advance(&t, 0),
              Fails(StatusCode::kIo, "cannot write 10 bytes at offset 100 of the file: the system took 0"));
}

TEST(Transfer, ErrorsKeepTheirMeaning) {
  Transfer t = Writing(10);
  EXPECT_THAT(*Advance(&t, -ENOSPC), Fails(StatusCode::kResourceExhausted, "of the file: No space left on device"));
  EXPECT_THAT(*Advance(&t, -EDQUOT), Fails(StatusCode::kResourceExhausted, "cannot write 10 bytes at offset 100"));
  EXPECT_THAT(*Advance(&t, -EIO), Fails(StatusCode::kIo, "Input/output error"));
}

TEST(Transfer, EinvalIsTheEndOnlyAtTheEnd) {
  TempDir dir;
  const File file = *File::Open(dir / "f", File::Mode::kCreate);
  ASSERT_EQ(::ftruncate(file.fd(), 104), 0);
  Transfer t = Reading(10);
  t.request.fd = file.fd();
  EXPECT_THAT(*Advance(&t, -EINVAL), Fails(StatusCode::kIo, "Invalid argument"));
  EXPECT_FALSE(Advance(&t, 3).has_value());
  EXPECT_THAT(*Advance(&t, -EINVAL), Fails(StatusCode::kIo, "Invalid argument"));
  EXPECT_FALSE(Advance(&t, 1).has_value());
  EXPECT_THAT(*Advance(&t, -EINVAL), Fails(StatusCode::kDataLoss, "ends after 4"));
}

TEST(Transfer, BlockingReadsAndWritesGoOnInSmallChunks) {
  TempDir dir;
  const File file = *File::Open(dir / "f", File::Mode::kCreate);
  std::vector<std::byte> data = RandomBytes(1000, 1);
  AsyncRequest request = {AsyncRequest::Kind::kWrite, file.fd(), 7, data.data(), data.size()};
  EXPECT_OK(RunBlocking({.request = request, .max_chunk = 33}));
  EXPECT_EQ(*file.Size(), 1007u);
  std::vector<std::byte> back(1000);
  request.kind = AsyncRequest::Kind::kRead;
  request.data = back.data();
  EXPECT_OK(RunBlocking({.request = request, .max_chunk = 17}));
  EXPECT_EQ(back, data);
  request.offset = 8;
  EXPECT_THAT(RunBlocking({.request = request, .max_chunk = 17}), Fails(StatusCode::kDataLoss, (dir / "f").string()));
}

}  // namespace
}  // namespace nosa::io::internal
