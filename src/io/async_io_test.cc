#include "io/async_io.h"

#include <fcntl.h>

#include <map>
#include <set>

#include "io/async_backends.h"
#include "io/test_util.h"
#include "tensor/buffer.h"

namespace nosa::io {
namespace {

constexpr size_t kAny = 16;  // completions taken at once

struct Setup {
  AsyncBackend backend;
  int width;  // ring entries or threads
  uint64_t max_chunk;
};

std::string SetupName(const testing::TestParamInfo<Setup>& info) {
  const Setup& s = info.param;
  return fmt::format("{}{}{}", s.backend == AsyncBackend::kUring ? "Uring" : "Threads", s.width,
                     s.max_chunk == internal::kMaxChunk ? "" : "Short");
}

AsyncRequest Read(int fd, uint64_t offset, MutableBytes out, uint64_t tag) {
  return {AsyncRequest::Kind::kRead, fd, offset, out.data(), out.size(), tag};
}
AsyncRequest Write(int fd, uint64_t offset, MutableBytes data, uint64_t tag) {
  return {AsyncRequest::Kind::kWrite, fd, offset, data.data(), data.size(), tag};
}

// One body for both implementations.
class AsyncIoTest : public testing::TestWithParam<Setup> {
 protected:
  void SetUp() override {
    const auto& [backend, width, max_chunk] = GetParam();
    auto io = backend == AsyncBackend::kUring ? internal::MakeUringIo(width, max_chunk)
                                              : internal::MakeThreadsIo(width, "", max_chunk);
    if (!io.ok() && backend == AsyncBackend::kUring) GTEST_SKIP() << "io_uring refused: " << io.status().message();
    io_ = *std::move(io);
    file_ = *File::Open(dir_ / "f", File::Mode::kCreate);
  }

  void Submit(const AsyncRequest& request) { io_->Submit({&request, 1}); }

  // Everything in flight, by tag; each tag once.
  std::map<uint64_t, Status> Drain() {
    std::map<uint64_t, Status> done;
    std::vector<AsyncCompletion> out(kAny);
    while (io_->in_flight() > 0) {
      const size_t before = io_->in_flight();
      const size_t n = io_->Poll(out, /*wait=*/true);
      EXPECT_GT(n, 0u);
      EXPECT_EQ(io_->in_flight(), before - n);
      for (size_t i = 0; i < n; ++i) EXPECT_TRUE(done.emplace(out[i].tag, out[i].status).second) << out[i].tag;
    }
    return done;
  }

  Status RunOne(const AsyncRequest& request) {
    Submit(request);
    return Drain().at(request.tag);
  }

  TempDir dir_;
  File file_;
  std::unique_ptr<AsyncIo> io_;
};

TEST_P(AsyncIoTest, AnEmptyQueueHasNothingToWaitFor) {
  std::vector<AsyncCompletion> out(kAny);
  EXPECT_EQ(io_->in_flight(), 0u);
  EXPECT_EQ(io_->Poll(out, true), 0u);
  EXPECT_EQ(io_->Poll(out, false), 0u);
  io_->Submit({});
  EXPECT_EQ(io_->Poll(out, true), 0u);
}

TEST_P(AsyncIoTest, MovesAnySize) {
  for (const size_t size : {0, 1, 4095, 4096, 4097, 70000}) {
    std::vector<std::byte> data = RandomBytes(size, size);
    std::vector<std::byte> back(size);
    EXPECT_OK(RunOne(Write(file_.fd(), 13, data, 1)));
    EXPECT_OK(RunOne(Read(file_.fd(), 13, back, 2)));
    EXPECT_EQ(back, data);
  }
}

// Far more than the ring or the threads hold, against a plain copy of the file. Blocks of one round do not
// overlap, as requests run in no particular order.
TEST_P(AsyncIoTest, ManyMixedTransfersAgreeWithAModelOfTheFile) {
  constexpr size_t kBlocks = 600;
  constexpr size_t kBlockBytes = 1500;
  std::vector<std::byte> model = RandomBytes(kBlocks * kBlockBytes, 1);
  EXPECT_OK(file_.WriteAt(0, model));
  for (uint64_t round = 0; round < 6; ++round) {
    std::vector<std::byte> memory = RandomBytes(kBlocks * kBlockBytes, 100 + round);
    std::vector<AsyncRequest> requests;
    std::vector<size_t> sizes;
    const Philox rng(7, round);
    for (size_t b = 0; b < kBlocks; ++b) {
      const auto draw = rng.Block(b);
      const size_t bytes = draw[0] % (kBlockBytes + 1);
      const MutableBytes part(memory.data() + b * kBlockBytes, bytes);
      const uint64_t offset = b * kBlockBytes;
      sizes.push_back(bytes);
      requests.push_back(draw[1] % 2 == 0 ? Read(file_.fd(), offset, part, b) : Write(file_.fd(), offset, part, b));
    }
    io_->Submit(std::span(requests).first(kBlocks / 2));
    io_->Submit(std::span(requests).subspan(kBlocks / 2));
    EXPECT_EQ(io_->in_flight(), kBlocks);
    const std::map<uint64_t, Status> done = Drain();
    ASSERT_EQ(done.size(), kBlocks);
    for (size_t b = 0; b < kBlocks; ++b) {
      EXPECT_OK(done.at(b));
      const auto part = memory.begin() + static_cast<ptrdiff_t>(b * kBlockBytes);
      const auto there = model.begin() + static_cast<ptrdiff_t>(b * kBlockBytes);
      const auto bytes = static_cast<ptrdiff_t>(sizes[b]);
      if (requests[b].kind == AsyncRequest::Kind::kWrite) {
        std::copy(part, part + bytes, there);
      } else {
        EXPECT_TRUE(std::equal(part, part + bytes, there)) << "block " << b << " of round " << round;
      }
    }
  }
  std::vector<std::byte> file(model.size());
  EXPECT_OK(file_.ReadAt(0, file));
  EXPECT_TRUE(file == model);
}

TEST_P(AsyncIoTest, AReadPastTheEndIsDataLoss) {
  EXPECT_OK(file_.WriteAt(0, RandomBytes(1000, 1)));
  std::vector<std::byte> out(1001);
  EXPECT_THAT(RunOne(Read(file_.fd(), 0, out, 1)),
              Fails(StatusCode::kDataLoss, "expected 1001 bytes at offset 0 of " + (dir_ / "f").string()));
  EXPECT_THAT(RunOne(Read(file_.fd(), 1000, out, 2)), Fails(StatusCode::kDataLoss, "the file ends after 0 of them"));
  EXPECT_THAT(RunOne(Read(file_.fd(), 5000, out, 3)), Fails(StatusCode::kDataLoss, "the file ends after 0 of them"));
}

TEST_P(AsyncIoTest, FailuresStayWithTheirRequest) {
  EXPECT_OK(file_.WriteAt(0, RandomBytes(100, 1)));
  const File reader = *File::Open(dir_ / "f", File::Mode::kRead);
  std::vector<std::byte> memory(500);
  const auto part = [&](size_t i) { return MutableBytes(memory).subspan(100 * i, 100); };
  const std::vector<AsyncRequest> requests = {
      Read(-1, 0, part(0), 10), Read(file_.fd(), 0, part(1), 11), Write(reader.fd(), 0, part(2), 12),
      Read(file_.fd(), UINT64_MAX, part(3), 13), Read(file_.fd(), 0, part(4), 14)};
  io_->Submit(requests);
  const std::map<uint64_t, Status> done = Drain();
  EXPECT_THAT(done.at(10), Fails(StatusCode::kIo, "cannot read 100 bytes at offset 0 of fd -1: Bad file descriptor"));
  EXPECT_OK(done.at(11));
  EXPECT_THAT(done.at(12), Fails(StatusCode::kIo, "cannot write 100 bytes at offset 0 of"));
  EXPECT_THAT(done.at(13), Fails(StatusCode::kIo, "a file ends at"));
  EXPECT_OK(done.at(14));
}

TEST_P(AsyncIoTest, AFullDiskIsResourceExhausted) {
  const Result<File> full = File::Open("/dev/full", File::Mode::kReadWrite);
  if (!full.ok()) GTEST_SKIP() << full.status().ToString();
  std::vector<std::byte> data(100);
  EXPECT_THAT(RunOne(Write(full->fd(), 0, data, 1)), Fails(StatusCode::kResourceExhausted, "No space left on device"));
}

TEST_P(AsyncIoTest, PollGivesAtMostWhatFits) {
  std::vector<std::byte> data = RandomBytes(300, 1);
  for (uint64_t i = 0; i < 3; ++i) Submit(Write(file_.fd(), 100 * i, MutableBytes(data).subspan(100 * i, 100), i));
  EXPECT_EQ(io_->Poll({}, true), 0u);
  std::set<uint64_t> tags;
  for (size_t left = 3; left > 0; --left) {
    AsyncCompletion one;
    EXPECT_EQ(io_->in_flight(), left);
    EXPECT_EQ(io_->Poll({&one, 1}, true), 1u);
    EXPECT_OK(one.status);
    tags.insert(one.tag);
  }
  EXPECT_EQ(tags, (std::set<uint64_t>{0, 1, 2}));
}

TEST_P(AsyncIoTest, PollWithoutWaitingGetsThereToo) {
  std::vector<std::byte> data = RandomBytes(100, 1);
  Submit(Write(file_.fd(), 0, data, 5));
  AsyncCompletion one;
  while (io_->Poll({&one, 1}, false) == 0) {
  }
  EXPECT_EQ(one.tag, 5u);
  EXPECT_OK(one.status);
}

TEST_P(AsyncIoTest, DestructionFinishesWhatIsInFlight) {
  std::vector<std::byte> data = RandomBytes(400 * 1000, 3);
  std::vector<AsyncRequest> requests;
  for (uint64_t i = 0; i < 400; ++i)
    requests.push_back(Write(file_.fd(), 1000 * i, MutableBytes(data).subspan(1000 * i, 1000), i));
  io_->Submit(requests);
  io_.reset();
  std::vector<std::byte> file(data.size());
  EXPECT_OK(file_.ReadAt(0, file));
  EXPECT_TRUE(file == data);
}

TEST_P(AsyncIoTest, MovesAlignedBlocksOfADirectFile) {
  bool direct = false;
  const File file = *File::OpenAnonymous(dir_.path(), true, &direct);
  if (!direct) GTEST_SKIP() << "no direct I/O here";
  if (GetParam().max_chunk != internal::kMaxChunk) GTEST_SKIP() << "odd chunks are not aligned";
  const size_t alignment = std::max<size_t>(DirectIoAlignment(file), 64);
  const size_t block = RoundUp(32 * kKiB, alignment);
  const Buffer out = Buffer::Host(8 * block, alignment);
  const Buffer in = Buffer::Host(8 * block, alignment);
  const std::vector<std::byte> data = RandomBytes(8 * block, 4);
  std::copy(data.begin(), data.end(), out.data());
  for (uint64_t i = 0; i < 8; ++i) Submit(Write(file.fd(), i * block, out.span().subspan(i * block, block), i));
  for (const auto& [tag, status] : Drain()) EXPECT_OK(status);
  for (uint64_t i = 8; i > 0; --i)
    Submit(Read(file.fd(), (i - 1) * block, in.span().subspan((i - 1) * block, block), i));
  for (const auto& [tag, status] : Drain()) EXPECT_OK(status);
  EXPECT_TRUE(std::equal(data.begin(), data.end(), in.data()));
  ASSERT_EQ(::ftruncate(file.fd(), static_cast<off_t>(block + 1)), 0);
  EXPECT_THAT(RunOne(Read(file.fd(), 0, in.span(), 1)),
              Fails(StatusCode::kDataLoss, fmt::format("ends after {} of them", block + 1)));
}

INSTANTIATE_TEST_SUITE_P(Backends, AsyncIoTest,
                         testing::Values(Setup{AsyncBackend::kUring, 64, internal::kMaxChunk},
                                         Setup{AsyncBackend::kUring, 1, internal::kMaxChunk},
                                         Setup{AsyncBackend::kUring, 3, 700},
                                         Setup{AsyncBackend::kThreads, 4, internal::kMaxChunk},
                                         Setup{AsyncBackend::kThreads, 1, internal::kMaxChunk},
                                         Setup{AsyncBackend::kThreads, 3, 700}),
                         SetupName);

TEST(MakeAsyncIo, SaysWhatItIs) {
  EXPECT_EQ((*MakeAsyncIo({.backend = AsyncBackend::kThreads, .threads = 3}))->Describe(), "pread on 3 threads");
  const auto uring = MakeAsyncIo({.backend = AsyncBackend::kUring, .depth = 32});
  if (!uring.ok()) GTEST_SKIP() << uring.status().ToString();
  EXPECT_EQ((*uring)->Describe(), "io_uring, depth 32");
  EXPECT_EQ((*MakeAsyncIo({}))->Describe(), "io_uring, depth 64");
}

TEST(MakeAsyncIo, RefusesNonsense) {
  const StatusCode bad = StatusCode::kInvalidArgument;
  EXPECT_THAT(MakeAsyncIo({.depth = 0}).status(),
              Fails(bad, "expected 1 to 2048 for the depth of asynchronous I/O, found 0"));
  EXPECT_THAT(MakeAsyncIo({.depth = 2049}).status(), Fails(bad, "found 2049"));
  EXPECT_THAT(MakeAsyncIo({.threads = -1}).status(), Fails(bad, "expected 1 to 1024 for the threads"));
  EXPECT_TRUE(MakeAsyncIo({.backend = AsyncBackend::kThreads, .depth = 2048, .threads = 1}).ok());
}

TEST(MakeAsyncIo, ARefusedRingFallsBackToThreadsWithTheReason) {
  TempDir dir;
  const File file = *File::Open(dir / "f", File::Mode::kCreate);
  EXPECT_OK(file.WriteAt(0, Bytes("abc")));
  const ScopedLimit limit(RLIMIT_NOFILE, 0);  // a ring needs a descriptor; threads do not
  EXPECT_THAT(MakeAsyncIo({.backend = AsyncBackend::kUring}).status(),
              Fails(StatusCode::kFailedPrecondition, "io_uring refused: "));
  const auto io = *MakeAsyncIo({.threads = 2});
  EXPECT_THAT(io->Describe(), testing::MatchesRegex("pread on 2 threads \\(io_uring refused: .+\\)"));
  std::vector<std::byte> out(3);
  const AsyncRequest request = Read(file.fd(), 0, out, 9);
  io->Submit({&request, 1});
  AsyncCompletion done;
  ASSERT_EQ(io->Poll({&done, 1}, true), 1u);
  EXPECT_OK(done.status);
  EXPECT_EQ(std::to_integer<char>(out[2]), 'c');
}

}  // namespace
}  // namespace nosa::io
