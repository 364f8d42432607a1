// Finds every selected block a slot, and lists what must be copied there.
#pragma once

#include <span>

#include "ops/ops.h"
#include "ops/seats.h"

namespace nosa::ops {

// Counters of all steps so far, in memory the backend addresses. Sums over lanes.
struct SlotCounters {
  unsigned long long selected = 0;  // sealed blocks asked for
  unsigned long long missing = 0;   // of these, not in a slot
  // Selected in the step before too; locality * selected_all. The block of the token before counts as selected then.
  unsigned long long repeated = 0;
  unsigned long long selected_all = 0;  // with the tail
};

// For every lane, with the blocks selection.ids: a block in a slot stays there; the tail (the block of positions[r]) is
// in its own; every other is missing: it takes the slot whose block was used longest ago (an empty one first, ties to
// the lower slot) and is not selected now, and is listed in `copies`. Every selected block's slot is marked used in
// `step`. addresses[r, g, i] = the frame of selection.ids[r, g, i]. arrivals[r, g, i] says what has to be done before
// it can be read there: 0: nothing; c > 0: copies[c - 1]. Entries of both behind a selection's count stay what they
// were. Needs lanes.slots >= the sealed blocks of any selection.
//
// With no slots at all, blocks are read where they are: addresses are those of the pages, nothing is missing and
// nothing is counted.
//
// The order of `copies` is not specified (nor, with it, what `arrivals` are beyond 0); `copy_count` counts from what it
// holds on entry.
struct AssignSlotsArgs {
  StepSelection selection;
  std::span<const int32_t> positions;  // [R] tokens; -1: empty seat
  SlotLanes lanes;
  BlockFrame frame;
  const int32_t* step = nullptr;     // [1] grows by one with every step; at least 1
  std::byte** addresses = nullptr;   // [R, G, width]
  int32_t* arrivals = nullptr;       // [R, G, width]
  BlockCopy* copies = nullptr;       // [R * G * width]
  int32_t* copy_count = nullptr;     // [1]
  SlotCounters* counters = nullptr;  // null: not counted
};

}  // namespace nosa::ops
