// What the Check functions of the decode ops have in common. They see shapes and null pointers; what the arrays hold
// lies on the device.
#pragma once

#include "base/check.h"
#include "ops/seats.h"

namespace nosa::ops {

inline void CheckFrame(const BlockFrame& frame, const char* op) {
  const size_t rows = static_cast<size_t>(frame.block_size), bytes = DTypeBytes(frame.dtype);
  const size_t k = rows * static_cast<size_t>(frame.k_dim) * bytes, v = rows * static_cast<size_t>(frame.v_dim) * bytes;
  NOSA_CHECK(frame.block_size > 0 && frame.k_dim > 0 && frame.v_dim > 0,
             "{}: a block of {} tokens, head sizes {} and {}", op, frame.block_size, frame.k_dim, frame.v_dim);
  NOSA_CHECK(frame.dtype == DType::kF32 || frame.dtype == DType::kBF16, "{}: expected a cache of f32 or bf16, found {}",
             op, DTypeName(frame.dtype));
  NOSA_CHECK(frame.v_offset >= k && frame.bytes >= frame.v_offset + v && frame.bytes % 16 == 0 &&
                 (frame.s_offset == 0 || (frame.s_offset >= frame.v_offset + v && frame.s_offset % 4 == 0 &&
                                          frame.bytes >= frame.s_offset + rows * 4)),
             "{}: a frame of {} bytes with v at {} and s at {}", op, frame.bytes, frame.v_offset, frame.s_offset);
}

inline void CheckLanes(const SlotLanes& lanes, const char* op) {
  NOSA_CHECK(lanes.seats >= 0 && lanes.kv_heads > 0 && lanes.slots >= 0 && lanes.max_blocks > 0,
             "{}: {} seats of {} KV heads, {} slots, {} blocks", op, lanes.seats, lanes.kv_heads, lanes.slots,
             lanes.max_blocks);
  NOSA_CHECK(lanes.seats == 0 || (lanes.frames && lanes.pages && (lanes.slots == 0 || (lanes.blocks && lanes.used))),
             "{}: a table is missing", op);
}

inline void CheckSelection(const StepSelection& selection, const char* op) {
  NOSA_CHECK(selection.width > 0 && selection.ids != nullptr && selection.counts != nullptr,
             "{}: a selection of {} blocks{}", op, selection.width, selection.ids ? "" : " without memory");
}

}  // namespace nosa::ops
