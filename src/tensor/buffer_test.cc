#include "tensor/buffer.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace nosa {
namespace {

TEST(Buffer, HostMemoryIsZeroedAlignedAndOfTheSizeAskedFor) {
  for (const size_t alignment : {64, 4096}) {
    for (const size_t bytes : {1, 63, 64, 65, 4097, 1 << 20}) {
      const Buffer buffer = Buffer::Host(bytes, alignment);
      EXPECT_EQ(buffer.size(), bytes);
      EXPECT_EQ(buffer.kind(), MemoryKind::kHost);
      EXPECT_EQ(reinterpret_cast<uintptr_t>(buffer.data()) % alignment, 0u);
      EXPECT_TRUE(std::ranges::all_of(buffer.span(), [](std::byte b) { return b == std::byte{0}; }));
    }
  }
}

TEST(Buffer, NothingOwnsNothing) {
  EXPECT_EQ(Buffer::Host(0).data(), nullptr);
  EXPECT_EQ(Buffer().size(), 0u);
  EXPECT_TRUE(Buffer().View(DType::kF32, {0, 4}).empty());
}

struct Freed {
  int count = 0;
  size_t bytes = 0;
};

Buffer Counted(Freed* freed, char* data, size_t bytes) {
  return Buffer(
      data, bytes, MemoryKind::kPinned,
      [](void*, size_t n, void* context) {
        auto* seen = static_cast<Freed*>(context);
        ++seen->count;
        seen->bytes = n;
      },
      freed);
}

TEST(Buffer, IsGivenBackOnceWhereverItMoves) {
  Freed a, b;
  char data[16];
  {
    Buffer first = Counted(&a, data, 8);
    Buffer second = std::move(first);
    EXPECT_EQ(first.data(), nullptr);  // NOLINT: a moved-from Buffer is empty
    EXPECT_EQ(first.size(), 0u);
    EXPECT_EQ(second.size(), 8u);
    EXPECT_EQ(second.kind(), MemoryKind::kPinned);
    EXPECT_EQ(a.count, 0);
    second = Counted(&b, data + 8, 4);
    EXPECT_EQ(a.count, 1) << "assignment gives the old memory back at once";
    EXPECT_EQ(a.bytes, 8u);
    Buffer& same = second;
    second = std::move(same);
    EXPECT_EQ(second.size(), 4u);
    EXPECT_EQ(b.count, 0);
  }
  EXPECT_EQ(a.count, 1);
  EXPECT_EQ(b.count, 1);
}

TEST(Buffer, ViewsSeeItsMemory) {
  Buffer buffer = Buffer::Host(6 * sizeof(float));
  const TensorView view = buffer.View(DType::kF32, {2, 3});
  view.row<float>(1)[2] = 5;
  EXPECT_EQ(buffer.as<float>()[5], 5);
}

TEST(BufferDeathTest, SaysWhatDoesNotFit) {
  EXPECT_DEATH((void)Buffer::Host(8).View(DType::kF32, {3}), "a view of f32 \\[3\\] needs 12 bytes, the buffer has 8");
  EXPECT_DEATH((void)Buffer::Host(8, 48), "alignment 48");
  EXPECT_DEATH((void)Buffer::Host(SIZE_MAX - 8), "more than can be addressed");
}

}  // namespace
}  // namespace nosa
