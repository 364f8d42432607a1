#include "io/file.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "io/file_fallback.h"
#include "io/test_util.h"
#include "tensor/buffer.h"

namespace nosa::io {
namespace {

std::vector<std::byte> ReadAll(const File& file) {
  std::vector<std::byte> bytes(*file.Size());
  EXPECT_OK(file.ReadAt(0, bytes));
  return bytes;
}

TEST(File, WritesAndReadsAnySize) {
  TempDir dir;
  for (const size_t size : {0, 1, 511, 4095, 4096, 4097, 100000}) {
    const File file = *File::Open(dir / "f", File::Mode::kCreate);
    const std::vector<std::byte> data = RandomBytes(size, size);
    EXPECT_OK(file.WriteAt(0, data));
    EXPECT_EQ(*file.Size(), size);
    EXPECT_EQ(ReadAll(file), data);
    std::vector<std::byte> more(size + 1);
    EXPECT_THAT(file.ReadAt(0, more),
                Fails(StatusCode::kDataLoss, fmt::format("the file ends after {} of them", size)));
  }
}

TEST(File, ModesMeanWhatTheySay) {
  TempDir dir;
  const std::string path = (dir / "f").string();
  EXPECT_THAT(File::Open(path, File::Mode::kRead).status(),
              Fails(StatusCode::kNotFound, "cannot open " + path + " for reading: No such file or directory"));
  EXPECT_THAT(File::Open(path, File::Mode::kReadWrite).status(),
              Fails(StatusCode::kNotFound, "cannot open " + path + " for reading and writing"));
  EXPECT_THAT(File::Open(path + "/g", File::Mode::kCreate).status(),
              Fails(StatusCode::kNotFound, "as a new file: No such file or directory"));
  EXPECT_OK(File::Open(path, File::Mode::kCreate)->WriteAt(0, Bytes("abc")));
  EXPECT_EQ(*File::Open(path, File::Mode::kReadWrite)->Size(), 3u);
  EXPECT_THAT(File::Open(path, File::Mode::kRead)->WriteAt(0, Bytes("x")),
              Fails(StatusCode::kIo, "cannot write 1 bytes at offset 0 of " + path + ": Bad file descriptor"));
  EXPECT_EQ(*File::Open(path, File::Mode::kCreate)->Size(), 0u);
  EXPECT_THAT(File::Open(dir.path(), File::Mode::kRead).status(), Fails(StatusCode::kIo, "Is a directory"));
}

TEST(File, ClosesOnceAndMoves) {
  TempDir dir;
  int fd = -1;
  {
    File a = *File::Open(dir / "f", File::Mode::kCreate);
    fd = a.fd();
    File b = std::move(a);
    EXPECT_FALSE(a.is_open());  // NOLINT: what a move leaves is promised
    EXPECT_EQ(b.fd(), fd);
    EXPECT_EQ(b.name(), (dir / "f").string());
    a = std::move(b);
    EXPECT_EQ(a.fd(), fd);
    EXPECT_NE(::fcntl(fd, F_GETFD), -1);
  }
  EXPECT_EQ(::fcntl(fd, F_GETFD), -1);
  const File closed;
  EXPECT_THAT(closed.Size().status(), Fails(StatusCode::kIo, "cannot read the size of"));
}

TEST(File, AFullDeviceIsResourceExhausted) {
  const Result<File> full = File::Open("/dev/full", File::Mode::kReadWrite);
  if (!full.ok()) GTEST_SKIP() << full.status().ToString();
  EXPECT_THAT(
      full->WriteAt(0, Bytes("abc")),
      Fails(StatusCode::kResourceExhausted, "cannot write 3 bytes at offset 0 of /dev/full: No space left on device"));
}

TEST(File, ALimitOnFilesIsResourceExhausted) {
  TempDir dir;
  const File file = *File::Open(dir / "f", File::Mode::kCreate);
  EXPECT_OK(file.WriteAt(0, Bytes("abc")));
  const ScopedLimit limit(RLIMIT_FSIZE, 8192);
  EXPECT_THAT(file.WriteAt(0, RandomBytes(10000, 1)), Fails(StatusCode::kResourceExhausted, "File too large"));
  EXPECT_THAT(file.Reserve(100000), Fails(StatusCode::kResourceExhausted, "cannot reserve 100000 bytes for"));
}

TEST(File, ReserveTakesRealSpaceAndKeepsContents) {
  TempDir dir;
  const File file = *File::Open(dir / "f", File::Mode::kCreate);
  EXPECT_OK(file.Reserve(0));
  EXPECT_EQ(*file.Size(), 0u);
  EXPECT_OK(file.WriteAt(0, Bytes("abc")));
  for (const uint64_t bytes : {uint64_t{1}, uint64_t{4097}, 3 * kMiB + 5}) {
    EXPECT_OK(file.Reserve(bytes));
    struct stat info = {};
    ASSERT_EQ(::fstat(file.fd(), &info), 0);
    EXPECT_GE(static_cast<uint64_t>(info.st_blocks) * 512, bytes);
    EXPECT_EQ(*file.Size(), std::max<uint64_t>(3, bytes));
  }
  EXPECT_EQ(std::to_integer<char>(ReadAll(file)[2]), 'c');
  EXPECT_THAT(file.Reserve(UINT64_MAX), Fails(StatusCode::kResourceExhausted, "no file is that large"));
}

// Runs on a file system of 1 MiB, mounted where only the child sees it. 77: not allowed here.
int FillTinyDisk(const std::filesystem::path& directory) {
  if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return 77;
  if (::mount("tmpfs", directory.c_str(), "tmpfs", 0, "size=1m") != 0) return 77;
  bool direct = false;
  const File file = *File::OpenAnonymous(directory, false, &direct);
  if (!file.WriteAt(0, RandomBytes(1000, 1)).ok()) return 1;
  const Status reserve = file.Reserve(2 * kMiB);
  if (reserve.code() != StatusCode::kResourceExhausted) return 2;
  if (reserve.message().find("No space left on device; its file system has 1044480 bytes free") == std::string::npos)
    return 3;
  if (*file.Size() != 1000 || *FreeDiskBytes(directory) != 1044480) return 4;
  if (file.WriteAt(0, RandomBytes(2 * kMiB, 1)).code() != StatusCode::kResourceExhausted) return 5;
  return 0;
}

TEST(File, AFullDiskIsResourceExhaustedAndSaysWhatIsFree) {
  TempDir dir;
  const int rc = RunInChild([&] { return FillTinyDisk(dir.path()); });
  if (rc == 77) GTEST_SKIP() << "this user may not mount a tiny file system";
  EXPECT_EQ(rc, 0);
}

TEST(File, AnonymousFilesHaveNoName) {
  TempDir dir;
  bool direct = true;
  const File file = *File::OpenAnonymous(dir.path(), false, &direct);
  EXPECT_FALSE(direct);
  EXPECT_EQ(DirectIoAlignment(file), 1u);
  EXPECT_OK(file.WriteAt(3, Bytes("abc")));
  EXPECT_EQ(*file.Size(), 6u);
  EXPECT_THAT(dir.Names(), testing::IsEmpty());
  EXPECT_THAT(File::OpenAnonymous(dir / "missing", false, &direct).status(),
              Fails(StatusCode::kNotFound, "cannot open a nameless file in " + (dir / "missing").string()));
}

TEST(File, AnonymousFilesWithoutTmpfileHaveNoNameEither) {
  TempDir dir;
  const int fd = internal::OpenUnlinked(dir.path());
  ASSERT_GE(fd, 0);
  EXPECT_EQ(::pwrite(fd, "abc", 3, 0), 3);
  ::close(fd);
  EXPECT_THAT(dir.Names(), testing::IsEmpty());
  EXPECT_EQ(internal::OpenUnlinked(dir / "missing"), -1);
}

class DirectFile : public testing::Test {
 protected:
  void SetUp() override {
    bool direct = false;
    file_ = *File::OpenAnonymous(dir_.path(), true, &direct);
    if (!direct) GTEST_SKIP() << "the file system of " << dir_.path() << " has no direct I/O";
    alignment_ = DirectIoAlignment(file_);
  }
  TempDir dir_;
  File file_;
  uint64_t alignment_ = 0;
};

TEST_F(DirectFile, MovesAlignedBlocks) {
  ASSERT_GE(alignment_, 1u);
  ASSERT_EQ(alignment_ & (alignment_ - 1), 0u);
  const size_t bytes = RoundUp(20000, alignment_);
  const size_t aligned = std::max<size_t>(alignment_, 64);
  const Buffer out = Buffer::Host(bytes, aligned);
  const Buffer in = Buffer::Host(bytes, aligned);
  const std::vector<std::byte> data = RandomBytes(bytes, 5);
  std::copy(data.begin(), data.end(), out.data());
  EXPECT_OK(file_.Reserve(4 * bytes));
  EXPECT_OK(file_.WriteAt(2 * bytes, out.span()));
  EXPECT_OK(file_.ReadAt(2 * bytes, in.span()));
  EXPECT_TRUE(std::equal(data.begin(), data.end(), in.data()));
}

TEST_F(DirectFile, AnOddEndIsDataLoss) {
  const Buffer in = Buffer::Host(RoundUp(8192, alignment_), std::max<size_t>(alignment_, 64));
  ASSERT_EQ(::ftruncate(file_.fd(), 1001), 0);
  EXPECT_THAT(file_.ReadAt(0, in.span()), Fails(StatusCode::kDataLoss, "the file ends after 1001 of them"));
}

TEST_F(DirectFile, FillsWithZerosInAlignedBlocks) {
  EXPECT_OK(internal::FillWithZeros(file_, 0, internal::kFillChunk + 1));
  EXPECT_EQ(*file_.Size(), RoundUp(internal::kFillChunk + 1, alignment_));
}

TEST(File, FillingWithZerosKeepsWhatIsBefore) {
  TempDir dir;
  for (const uint64_t end : {uint64_t{3}, uint64_t{4}, internal::kFillChunk + 3, internal::kFillChunk + 4}) {
    const File file = *File::Open(dir / "f", File::Mode::kCreate);
    EXPECT_OK(file.WriteAt(0, Bytes("abc")));
    EXPECT_OK(internal::FillWithZeros(file, 3, end));
    std::vector<std::byte> expected(end);
    std::copy_n(Bytes("abc").data(), 3, expected.data());
    EXPECT_EQ(ReadAll(file), expected);
  }
}

TEST(FreeDiskBytes, IsReadFromTheFileSystem) {
  TempDir dir;
  EXPECT_GT(*FreeDiskBytes(dir.path()), 0u);
  EXPECT_THAT(FreeDiskBytes(dir / "missing").status(),
              Fails(StatusCode::kNotFound, "cannot read the free space of " + (dir / "missing").string()));
}

TEST(ReadTextFile, ReadsWhateverHasAnEnd) {
  TempDir dir;
  for (const size_t size : {0, 1, 4096, 100001}) {
    const std::string text(size, 'x');
    EXPECT_OK(File::Open(dir / "f", File::Mode::kCreate)->WriteAt(0, Bytes(text)));
    EXPECT_EQ(*ReadTextFile(dir / "f"), text);
  }
  // A file whose size the system gives as 0.
  EXPECT_THAT(*ReadTextFile("/proc/self/status"), testing::HasSubstr("Name:"));
  EXPECT_THAT(ReadTextFile(dir / "missing").status(), Fails(StatusCode::kNotFound, "cannot open"));
}

TEST(ReadTextFile, RefusesWhatMemoryCannotHold) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "sanitizers end the program where an allocation is refused";
#endif
  TempDir dir;
  const File file = *File::Open(dir / "f", File::Mode::kCreate);
  if (::ftruncate(file.fd(), int64_t{1} << 43) != 0) GTEST_SKIP() << "no sparse file of 8 TiB here";
  const ScopedLimit limit(RLIMIT_AS, rlim_t{1} << 42);
  EXPECT_THAT(ReadTextFile(dir / "f").status(),
              Fails(StatusCode::kResourceExhausted, "no memory for the 8796093022208 bytes"));
}

TEST(WriteFileAtomically, ReplacesTheWholeFile) {
  TempDir dir;
  EXPECT_OK(WriteFileAtomically(dir / "f", Bytes("a long first version")));
  EXPECT_OK(WriteFileAtomically(dir / "f", Bytes("second")));
  EXPECT_EQ(*ReadTextFile(dir / "f"), "second");
  EXPECT_OK(WriteFileAtomically(dir / "f", {}));
  EXPECT_EQ(*ReadTextFile(dir / "f"), "");
  EXPECT_THAT(dir.Names(), testing::ElementsAre("f"));
  // The usual permissions, not those of a private temporary file.
  EXPECT_TRUE(File::Open(dir / "g", File::Mode::kCreate).ok());
  EXPECT_EQ(std::filesystem::status(dir / "f").permissions(), std::filesystem::status(dir / "g").permissions());
}

TEST(WriteFileAtomically, AFailureLeavesTheOldFileAndNoOther) {
  TempDir dir;
  EXPECT_OK(WriteFileAtomically(dir / "f", Bytes("old")));
  {
    const ScopedLimit limit(RLIMIT_FSIZE, 8192);
    EXPECT_THAT(WriteFileAtomically(dir / "f", RandomBytes(10000, 1)),
                Fails(StatusCode::kResourceExhausted, "File too large"));
  }
  EXPECT_EQ(*ReadTextFile(dir / "f"), "old");
  EXPECT_THAT(dir.Names(), testing::ElementsAre("f"));
  EXPECT_THAT(WriteFileAtomically(dir / "missing" / "f", Bytes("x")), Fails(StatusCode::kNotFound, "cannot create"));
  std::filesystem::create_directory(dir / "d");
  EXPECT_THAT(WriteFileAtomically(dir / "d", Bytes("x")), Fails(StatusCode::kIo, "cannot rename"));
  EXPECT_THAT(dir.Names(), testing::UnorderedElementsAre("f", "d"));
}

TEST(MappedFile, ShowsTheBytesOfTheFile) {
  TempDir dir;
  for (const size_t size : {0, 1, 4096, 4097}) {
    const std::vector<std::byte> data = RandomBytes(size, size);
    EXPECT_OK(WriteFileAtomically(dir / "f", data));
    MappedFile a = *MappedFile::Open(dir / "f");
    MappedFile b = std::move(a);
    EXPECT_TRUE(a.bytes().empty());  // NOLINT: what a move leaves is promised
    a = std::move(b);
    EXPECT_TRUE(std::equal(data.begin(), data.end(), a.bytes().begin(), a.bytes().end()));
  }
  EXPECT_THAT(MappedFile::Open(dir / "missing").status(), Fails(StatusCode::kNotFound, (dir / "missing").string()));
  EXPECT_THAT(MappedFile::Open(dir.path()).status(), Fails(StatusCode::kIo, "Is a directory"));
}

}  // namespace
}  // namespace nosa::io
