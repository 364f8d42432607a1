// The device's part of a decode batch: slots for blocks, and where every block's home is. The decision which block is
// in which slot is made on the device (ops/assign_slots.h); this is the memory it is made in.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "base/status.h"
#include "kv/block_layout.h"
#include "ops/backend.h"
#include "ops/seats.h"
#include "tensor/buffer.h"

namespace nosa::kv {

struct SeatOptions {
  BlockLayout layout;
  int seats = 0;       // R: sequences that take a step together
  int slots = 0;       // S: sealed blocks kept per lane and seat; 0: blocks are read from their pages
  int max_tokens = 0;  // of any sequence
};

// How a block of `layout` lies in the frames of a device: the same bytes, padded to whole 16-byte words.
ops::BlockFrame FrameOf(const BlockLayout& layout);

// One caller thread. Between steps the host may change what a seat holds; a step in flight must have been waited for.
class SeatStore {
 public:
  // kResourceExhausted as Backend::Allocate.
  static Result<std::unique_ptr<SeatStore>> Create(const SeatOptions& options, ops::Backend* backend);
  // Device bytes a store takes.
  static uint64_t DeviceBytes(const SeatOptions& options);

  const SeatOptions& options() const { return options_; }
  const ops::BlockFrame& frame() const { return frame_; }
  int max_blocks() const { return max_blocks_; }

  // A seat takes a sequence of `length` tokens: nothing of it is in a slot, the next token has position `length`. Its
  // homes are set by SetHome, and its unfinished block, if any, must have been put there too.
  void Seat(int seat, int length);
  // Nobody sits there any more; the seat's homes are forgotten.
  void Leave(int seat);
  // `home` has room for a frame and is memory that the backend addresses; it is the store's until Leave.
  void SetHome(int seat, int lane, BlockId block, std::byte* home);
  // Copies what was set to the device, with the tails of newly taken seats; the others stay where their steps brought
  // them. Before the next step. What did not change is not copied: a table of all homes is hundreds of megabytes for
  // many long sequences.
  void Flush();
  // Whether there is something for Flush.
  bool changed() const { return changed_; }
  // Before each step is given to the device: every seat grows by a token. kFailedPrecondition when one has no room or
  // no home for it, or Flush is due; then nothing is counted.
  Status CountStep();
  // As counted; -1: empty.
  int position(int seat) const { return host_positions_.as<int32_t>()[seat]; }

  // What is in a seat's slots. blocks [lanes, slots]: -1: none; used [lanes, slots]: the step that read it last.
  struct SlotTable {
    std::vector<int32_t> blocks, used;
    int32_t last_step = 0;  // the newest step
  };
  // Waits for the steps so far. kResourceExhausted as Backend::Allocate.
  Result<SlotTable> ReadSlots(int seat) const;

  // Addresses for recording. positions [R], step [1].
  std::span<const int32_t> positions() const { return {positions_.as<int32_t>(), static_cast<size_t>(options_.seats)}; }
  int32_t* positions_data() const { return positions_.as<int32_t>(); }
  int32_t* step() const { return step_.as<int32_t>(); }
  ops::SlotLanes Lanes(LayerIdx layer) const;

 private:
  SeatStore(const SeatOptions& options, ops::Backend* backend);
  size_t Index(int seat, int lane) const {  // of (layer, seat, KV head)
    const size_t heads = static_cast<size_t>(options_.layout.kv_heads), l = static_cast<size_t>(lane);
    return (l / heads * static_cast<size_t>(options_.seats) + static_cast<size_t>(seat)) * heads + l % heads;
  }
  // Entries of the page table that Flush is to copy, of one layer and seat.
  struct Range {
    size_t begin = 0, end = 0;
  };
  void Touch(int seat, int lane, size_t begin, size_t end);
  std::byte** Homes(int seat, int lane) const {  // [max_blocks]
    return host_pages_.as<std::byte*>() + Index(seat, lane) * static_cast<size_t>(max_blocks_);
  }

  SeatOptions options_;
  ops::BlockFrame frame_;
  int max_blocks_;
  ops::Backend* backend_;
  Buffer frames_, blocks_, used_, pages_, positions_, step_;
  Buffer host_pages_, host_positions_, host_empty_;  // what Flush copies
  std::vector<int> fresh_;                           // seats taken or left since the last Flush
  std::vector<Range> touched_;                       // by layer and seat
  bool changed_ = false;
  std::vector<int> housed_;  // of each seat: blocks before it were seen to have homes
};

}  // namespace nosa::kv
