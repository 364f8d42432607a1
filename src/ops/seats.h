// A decode batch whose plan lives on the device. Every seat holds one sequence, or none; one step computes the next
// token of every seat. Selection, diff, slots and transfers are computed where the attention is, so a step can be
// recorded once as a graph and repeated without the host. All addresses here are the backend's.
#pragma once

#include <cstddef>
#include <cstdint>

#include "tensor/dtype.h"

namespace nosa::ops {

// How one cached block lies in its frame: K[B, Dk], V[B, Dv], s[B] f32, as kv::BlockLayout says.
struct BlockFrame {
  int block_size = 0;  // B, tokens
  int k_dim = 0;
  int v_dim = 0;
  DType dtype = DType::kF32;  // of k and v: f32 or bf16
  size_t v_offset = 0;        // bytes from the start of the frame
  size_t s_offset = 0;        // 0: the cache keeps no importance
  size_t bytes = 0;           // of a frame; a multiple of 16
};

// The device slots of one layer. Lane (r, g) is KV head g of seat r. Slots 0 .. S - 1 are a cache of sealed blocks;
// slot S holds the tail: the block that still grows. What is written to the tail is written through to its page, so a
// block that is full needs no more work to leave the device. S = 0: nothing is cached, blocks are read from their
// pages.
struct SlotLanes {
  std::byte* frames = nullptr;  // [R, G, S + 1, frame.bytes]
  int32_t* blocks = nullptr;    // [R, G, S] block in each slot; -1: none
  int32_t* used = nullptr;      // [R, G, S] step that read it last
  // [R, G, max_blocks] home of each block: memory that the device addresses, with room for one frame; null: none (yet).
  std::byte* const* pages = nullptr;
  int seats = 0;  // R
  int kv_heads = 0;
  int slots = 0;  // S
  int max_blocks = 0;
};

// One block to be copied into a slot.
struct BlockCopy {
  const std::byte* from = nullptr;
  std::byte* to = nullptr;
};

// Blocks read by one step, per lane in ascending order. `width` is the most a lane may select.
struct StepSelection {
  int32_t* ids = nullptr;     // [R, G, width]
  int32_t* counts = nullptr;  // [R, G]; 0 for an empty seat
  int width = 0;
};

// Partial results are cut every this many blocks of the sorted selection: where they are cut is part of the bits.
inline constexpr int kSplitBlocks = 4;

}  // namespace nosa::ops
