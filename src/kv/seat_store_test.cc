#include "kv/seat_store.h"

#include <gtest/gtest.h>

#include <cstring>
#include <map>
#include <memory>
#include <vector>

#include "ops/host_backend.h"
#include "ops/reference/reference_backend.h"

namespace nosa::kv {
namespace {

// Computes in memory of its own kind, which the host can look into all the same; adds up what it gives.
class CountingBackend final : public ops::HostBackend {
 public:
  std::string_view name() const override { return "counting"; }
  std::string Describe() const override { return "adds up its memory by kind"; }
  const ops::OpTable& table() const override { return reference_->table(); }
  int threads() const override { return 1; }
  MemoryKind compute_memory() const override { return MemoryKind::kDevice; }
  MemoryKind shared_memory() const override { return MemoryKind::kPinned; }
  Result<Buffer> Allocate(size_t bytes, MemoryKind kind) override {
    if (left-- <= 0) return ResourceExhausted("no memory for {} bytes", bytes);
    given[kind] += bytes;
    return HostBackend::Allocate(bytes, MemoryKind::kHost);
  }
  void Copy(void* to, const void* from, size_t bytes, ops::Stream stream) override {
    copied += bytes;
    HostBackend::Copy(to, from, bytes, stream);
  }
  uint64_t copied = 0;
  std::map<MemoryKind, uint64_t> given;
  int left = 1000;

 private:
  std::unique_ptr<ops::Backend> reference_ = ops::reference::MakeReferenceBackend();
};

BlockLayout Layout(DType dtype = DType::kF32, bool importance = true) {
  return {.layers = 3,
          .kv_heads = 2,
          .block_size = 4,
          .k_dim = 3,
          .v_dim = 5,
          .dtype = dtype,
          .has_importance = importance};
}

constexpr int kSeats = 3, kTokens = 42;  // 11 blocks

class SeatStoreTest : public testing::TestWithParam<int> {
 protected:
  SeatStoreTest() {
    auto made = SeatStore::Create({Layout(), kSeats, slots(), kTokens}, &backend_);
    EXPECT_TRUE(made.ok()) << made.status().ToString();
    store_ = std::move(made).value();
    homes_.resize(static_cast<size_t>(kSeats * lanes() * store_->max_blocks()) * store_->frame().bytes);
    for (size_t i = 0; i < homes_.size(); ++i) homes_[i] = static_cast<std::byte>(i * 2654435761u >> 11);
  }
  int slots() const { return GetParam(); }
  int lanes() const { return Layout().lanes(); }
  std::byte* Home(int seat, int lane, int block) {
    return homes_.data() +
           static_cast<size_t>((seat * lanes() + lane) * store_->max_blocks() + block) * store_->frame().bytes;
  }
  void SetHomes(int seat, int blocks) {
    for (int lane = 0; lane < lanes(); ++lane) {
      for (int block = 0; block < blocks; ++block) store_->SetHome(seat, lane, BlockId(block), Home(seat, lane, block));
    }
  }
  // What the ops of a layer see of a seat's lane.
  std::byte* Frame(int seat, int lane, int slot) {
    const ops::SlotLanes layer = store_->Lanes(LayerIdx(lane / 2));
    return layer.frames + static_cast<size_t>((seat * 2 + lane % 2) * (slots() + 1) + slot) * store_->frame().bytes;
  }
  std::byte* Page(int seat, int lane, int block) {
    return store_->Lanes(LayerIdx(lane / 2)).pages[(seat * 2 + lane % 2) * store_->max_blocks() + block];
  }
  int32_t& Block(int seat, int lane, int slot) {
    return store_->Lanes(LayerIdx(lane / 2)).blocks[(seat * 2 + lane % 2) * slots() + slot];
  }
  int32_t& Position(int seat) { return store_->positions_data()[seat]; }
  bool TailIs(int seat, int lane, const std::byte* what) {
    return std::memcmp(Frame(seat, lane, slots()), what, store_->frame().bytes) == 0;
  }
  // As steps would leave it.
  void Use(int seat, int32_t position) {
    Position(seat) = position;
    for (int lane = 0; lane < lanes(); ++lane) {
      for (int slot = 0; slot < slots(); ++slot) Block(seat, lane, slot) = slot + 1;
      std::memset(Frame(seat, lane, slots()), 0x77, store_->frame().bytes);
    }
  }
  void ExpectUsed(int seat, int32_t position) {
    EXPECT_EQ(Position(seat), position);
    const std::vector<std::byte> tail(store_->frame().bytes, std::byte{0x77});
    for (int lane = 0; lane < lanes(); ++lane) {
      for (int slot = 0; slot < slots(); ++slot) EXPECT_EQ(Block(seat, lane, slot), slot + 1);
      EXPECT_TRUE(TailIs(seat, lane, tail.data())) << "lane " << lane;
    }
  }

  CountingBackend backend_;
  std::unique_ptr<SeatStore> store_;
  std::vector<std::byte> homes_;
};

TEST_P(SeatStoreTest, StartsEmpty) {
  EXPECT_EQ(store_->max_blocks(), 11);
  EXPECT_EQ(*store_->step(), 1);
  ASSERT_EQ(store_->positions().size(), static_cast<size_t>(kSeats));
  for (const int32_t position : store_->positions()) EXPECT_EQ(position, -1);
  for (int layer = 0; layer < 3; ++layer) {
    const ops::SlotLanes lanes = store_->Lanes(LayerIdx(layer));
    EXPECT_EQ(lanes.seats, kSeats);
    EXPECT_EQ(lanes.kv_heads, 2);
    EXPECT_EQ(lanes.slots, slots());
    EXPECT_EQ(lanes.max_blocks, 11);
    EXPECT_EQ(lanes.blocks == nullptr, slots() == 0);
    for (int i = 0; i < kSeats * 2 * slots(); ++i) EXPECT_EQ(lanes.blocks[i], -1);
    for (int i = 0; i < kSeats * 2 * 11; ++i) EXPECT_EQ(lanes.pages[i], nullptr);
  }
}

TEST_P(SeatStoreTest, ASeatHasItsHomesAndItsTail) {
  store_->Seat(1, 22);  // five blocks and two tokens
  SetHomes(1, 7);
  EXPECT_EQ(Position(1), -1) << "nothing before Flush";
  store_->Flush();
  EXPECT_EQ(Position(1), 22);
  for (int seat = 0; seat < kSeats; ++seat) {
    for (int lane = 0; lane < lanes(); ++lane) {
      for (int block = 0; block < 11; ++block) {
        EXPECT_EQ(Page(seat, lane, block), seat == 1 && block < 7 ? Home(1, lane, block) : nullptr);
      }
      for (int slot = 0; slot < slots(); ++slot) EXPECT_EQ(Block(seat, lane, slot), -1);
      EXPECT_EQ(TailIs(seat, lane, Home(1, lane, 5)), seat == 1) << "seat " << seat << " lane " << lane;
    }
  }
  EXPECT_EQ(Position(0), -1);
  EXPECT_EQ(Position(2), -1);
}

// Homes may come before the seat is taken, and where the last block is full there is no tail, nor a home for it.
TEST_P(SeatStoreTest, AWholeNumberOfBlocksHasNoTail) {
  SetHomes(0, 5);
  store_->Seat(0, 20);
  store_->Seat(2, 0);
  Use(0, -1);
  Use(2, -1);
  store_->Flush();
  EXPECT_EQ(Position(0), 20);
  EXPECT_EQ(Position(2), 0);
  const std::vector<std::byte> untouched(store_->frame().bytes, std::byte{0x77});
  for (int lane = 0; lane < lanes(); ++lane) {
    EXPECT_TRUE(TailIs(0, lane, untouched.data()));
    EXPECT_TRUE(TailIs(2, lane, untouched.data()));
    for (int slot = 0; slot < slots(); ++slot) EXPECT_EQ(Block(0, lane, slot), -1);
    for (int slot = 0; slot < slots(); ++slot) EXPECT_EQ(Block(2, lane, slot), -1);
  }
}

// Blocks that a sequence grows into get their homes while it sits; who has stepped on stays where it is.
TEST_P(SeatStoreTest, FlushMovesOnlyNewSeats) {
  store_->Seat(0, 9);
  SetHomes(0, 3);
  store_->Flush();
  Use(0, 13);
  *store_->step() = 5;
  store_->SetHome(0, 4, BlockId(3), Home(0, 4, 3));
  store_->Flush();
  ExpectUsed(0, 13);
  EXPECT_EQ(Page(0, 4, 3), Home(0, 4, 3));
  EXPECT_EQ(Page(0, 3, 3), nullptr);

  store_->Seat(2, 6);
  SetHomes(2, 2);
  store_->Flush();
  ExpectUsed(0, 13);
  EXPECT_EQ(Position(2), 6);
  EXPECT_EQ(*store_->step(), 5);
  for (int lane = 0; lane < lanes(); ++lane) EXPECT_TRUE(TailIs(2, lane, Home(2, lane, 1)));
}

TEST_P(SeatStoreTest, LeavingForgetsTheHomes) {
  for (int seat = 0; seat < kSeats; ++seat) {
    store_->Seat(seat, 10);
    SetHomes(seat, 4);
  }
  store_->Flush();
  for (int seat = 0; seat < kSeats; ++seat) Use(seat, 11);
  store_->Leave(1);
  store_->Flush();
  EXPECT_EQ(Position(1), -1);
  ExpectUsed(0, 11);
  ExpectUsed(2, 11);
  for (int lane = 0; lane < lanes(); ++lane) {
    for (int block = 0; block < 11; ++block) {
      EXPECT_EQ(Page(1, lane, block), nullptr);
      EXPECT_EQ(Page(2, lane, block), block < 4 ? Home(2, lane, block) : nullptr);
    }
  }
  // The next one, in one Flush with its leaving, has its own homes alone and none of the blocks in the slots.
  store_->Seat(1, 15);
  SetHomes(1, 4);
  store_->Flush();
  Use(1, 16);
  store_->Leave(1);
  store_->Seat(1, 2);
  SetHomes(1, 1);
  store_->Flush();
  EXPECT_EQ(Position(1), 2);
  for (int lane = 0; lane < lanes(); ++lane) {
    for (int slot = 0; slot < slots(); ++slot) EXPECT_EQ(Block(1, lane, slot), -1);
    EXPECT_EQ(Page(1, lane, 0), Home(1, lane, 0));
    EXPECT_EQ(Page(1, lane, 1), nullptr);
    EXPECT_TRUE(TailIs(1, lane, Home(1, lane, 0)));
  }
  ExpectUsed(0, 11);
  ExpectUsed(2, 11);
}

// One home in a table of many seats is not the whole table.
TEST_P(SeatStoreTest, FlushCopiesWhatChanged) {
  for (int seat = 0; seat < kSeats; ++seat) {
    store_->Seat(seat, 8);
    SetHomes(seat, 3);
  }
  store_->Flush();
  backend_.copied = 0;
  EXPECT_FALSE(store_->changed());
  store_->Flush();
  EXPECT_EQ(backend_.copied, 0u);
  store_->SetHome(1, 3, BlockId(3), Home(1, 3, 3));
  EXPECT_TRUE(store_->changed());
  store_->Flush();
  EXPECT_EQ(backend_.copied, sizeof(std::byte*));
  EXPECT_EQ(Page(1, 3, 3), Home(1, 3, 3));
  // The next block of one seat: of each layer, from the first KV head's home to the last one's.
  backend_.copied = 0;
  for (int lane = 0; lane < lanes(); ++lane) store_->SetHome(2, lane, BlockId(3), Home(2, lane, 3));
  store_->Flush();
  EXPECT_EQ(backend_.copied, 3 * (11 + 1) * sizeof(std::byte*));
  for (int lane = 0; lane < lanes(); ++lane) {
    EXPECT_EQ(Page(2, lane, 3), Home(2, lane, 3));
    EXPECT_EQ(Page(2, lane, 2), Home(2, lane, 2));
    EXPECT_EQ(Page(0, lane, 3), nullptr);
  }
}

// A step that would leave the room of a seat, or write where nobody has a home, is refused before it is given.
TEST_P(SeatStoreTest, AStepWithoutRoomIsRefused) {
  EXPECT_TRUE(store_->CountStep().ok()) << "of empty seats";
  store_->Seat(0, 40);
  store_->Seat(1, 10);
  SetHomes(0, 11);
  SetHomes(1, 3);
  EXPECT_EQ(store_->CountStep().code(), StatusCode::kFailedPrecondition) << "nothing was flushed";
  store_->Flush();
  ASSERT_TRUE(store_->CountStep().ok());
  ASSERT_TRUE(store_->CountStep().ok());
  EXPECT_EQ(store_->position(0), 42);
  EXPECT_EQ(store_->position(1), 12);
  EXPECT_EQ(store_->position(2), -1);
  const Status no_room = store_->CountStep();
  EXPECT_EQ(no_room.code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(no_room.message(), "seat 0 has 42 tokens, there is room for 42");
  EXPECT_EQ(store_->position(1), 12) << "nothing was counted";
  store_->Leave(0);
  store_->Flush();
  const Status no_home = store_->CountStep();
  EXPECT_EQ(no_home.code(), StatusCode::kFailedPrecondition);
  EXPECT_EQ(no_home.message(), "seat 1 has no home for token 12: block 3 of lane 0");
  for (int lane = 0; lane + 1 < lanes(); ++lane) store_->SetHome(1, lane, BlockId(3), Home(1, lane, 3));
  store_->Flush();
  EXPECT_EQ(store_->CountStep().message(), "seat 1 has no home for token 12: block 3 of lane 5");
  store_->SetHome(1, 5, BlockId(3), Home(1, 5, 3));
  store_->Flush();
  for (int i = 0; i < 4; ++i) EXPECT_TRUE(store_->CountStep().ok());
  EXPECT_EQ(store_->position(1), 16);
  EXPECT_FALSE(store_->CountStep().ok());
}

INSTANTIATE_TEST_SUITE_P(Slots, SeatStoreTest, testing::Values(0, 1, 7));

TEST(SeatStore, TakesTheDeviceBytesItSays) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const bool importance : {false, true}) {
      for (const int seats : {1, 5}) {
        for (const int slots : {0, 1, 13}) {
          for (const int tokens : {1, 4, 1000}) {
            CountingBackend backend;
            const SeatOptions options = {Layout(dtype, importance), seats, slots, tokens};
            const auto store = SeatStore::Create(options, &backend);
            ASSERT_TRUE(store.ok());
            EXPECT_EQ(backend.given[MemoryKind::kDevice], SeatStore::DeviceBytes(options))
                << seats << " seats of " << slots << " slots and " << tokens << " tokens";
          }
        }
      }
    }
  }
}

TEST(SeatStore, WithoutMemoryThereIsNone) {
  CountingBackend backend;
  const SeatOptions options = {Layout(), 2, 3, 40};
  ASSERT_TRUE(SeatStore::Create(options, &backend).ok());
  const int needs = 1000 - backend.left;
  for (int left = 0; left < needs; ++left) {
    backend.left = left;
    EXPECT_EQ(SeatStore::Create(options, &backend).status().code(), StatusCode::kResourceExhausted) << left;
  }
}

// A frame is a block with room behind.
TEST(SeatStore, FramesAreBlocks) {
  for (const DType dtype : {DType::kF32, DType::kBF16}) {
    for (const bool importance : {false, true}) {
      for (const int block_size : {1, 4, 7, 64}) {
        BlockLayout layout = Layout(dtype, importance);
        layout.block_size = block_size;
        const ops::BlockFrame frame = FrameOf(layout);
        std::vector<std::byte> memory(frame.bytes + 16);
        const std::byte* block = memory.data();
        EXPECT_EQ(block + frame.v_offset, layout.V(block));
        EXPECT_EQ(frame.s_offset == 0, !importance);
        if (importance) {
          EXPECT_EQ(block + frame.s_offset, reinterpret_cast<const std::byte*>(layout.S(block)));
        }
        EXPECT_GE(frame.bytes, layout.BlockBytes());
        EXPECT_LT(frame.bytes, layout.BlockBytes() + 16);
        EXPECT_EQ(frame.bytes % 16, 0u);
        EXPECT_EQ(frame.block_size, block_size);
        EXPECT_EQ(frame.k_dim, 3);
        EXPECT_EQ(frame.v_dim, 5);
        EXPECT_EQ(frame.dtype, dtype);
      }
    }
  }
}

}  // namespace
}  // namespace nosa::kv
