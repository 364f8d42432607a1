#include "ops/assign_slots.h"

#include <algorithm>
#include <vector>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {
namespace {

// The slot that is given up: an empty one, else the one used longest ago, of those that are not `taken`.
int Victim(const int32_t* blocks, const int32_t* used, const std::vector<bool>& taken) {
  int best = -1;
  const auto age = [&](int slot) { return blocks[slot] < 0 ? int64_t{-1} : int64_t{used[slot]}; };
  for (int slot = 0; slot < static_cast<int>(taken.size()); ++slot) {
    if (!taken[static_cast<size_t>(slot)] && (best < 0 || age(slot) < age(best))) best = slot;
  }
  return best;
}

}  // namespace

void assign_slots(Backend&, Stream, const AssignSlotsArgs& args) {
  const SlotLanes& lanes = args.lanes;
  const StepSelection& selection = args.selection;
  const int slots = lanes.slots;
  const int32_t now = *args.step;
  for (int lane = 0; lane < lanes.seats * lanes.kv_heads; ++lane) {
    const int32_t pos = args.positions[static_cast<size_t>(lane / lanes.kv_heads)];
    if (pos < 0) continue;
    int32_t* blocks = lanes.blocks + static_cast<ptrdiff_t>(lane) * slots;
    int32_t* used = lanes.used + static_cast<ptrdiff_t>(lane) * slots;
    std::byte* frames = lanes.frames + static_cast<size_t>(lane) * static_cast<size_t>(slots + 1) * args.frame.bytes;
    const int32_t* ids = selection.ids + static_cast<ptrdiff_t>(lane) * selection.width;
    const int count = selection.counts[lane];
    int32_t* arrivals = args.arrivals + static_cast<ptrdiff_t>(lane) * selection.width;
    std::fill(arrivals, arrivals + count, 0);
    if (slots == 0) {
      for (int i = 0; i < count; ++i) {
        args.addresses[static_cast<ptrdiff_t>(lane) * selection.width + i] =
            lanes.pages[static_cast<ptrdiff_t>(lane) * lanes.max_blocks + ids[i]];
      }
      continue;
    }
    const auto frame = [&](int slot) { return frames + static_cast<size_t>(slot) * args.frame.bytes; };
    std::vector<int> slot_of(static_cast<size_t>(count), -1);
    std::vector<bool> taken(static_cast<size_t>(slots), false);
    for (int i = 0; i < count; ++i) {
      if (ids[i] == pos / args.frame.block_size) slot_of[static_cast<size_t>(i)] = slots;
      for (int slot = 0; slot < slots; ++slot) {
        if (blocks[slot] != ids[i]) continue;
        slot_of[static_cast<size_t>(i)] = slot;
        taken[static_cast<size_t>(slot)] = true;
        if (args.counters != nullptr && used[slot] == now - 1) ++args.counters->repeated;
      }
    }
    for (int i = 0; i < count; ++i) {
      int& slot = slot_of[static_cast<size_t>(i)];
      const bool missing = slot < 0;
      if (missing) {
        slot = Victim(blocks, used, taken);
        NOSA_CHECK(slot >= 0, "lane {} selects {} blocks and has {} slots", lane, count, slots);
        taken[static_cast<size_t>(slot)] = true;
        blocks[slot] = ids[i];
        const std::byte* home = lanes.pages[static_cast<ptrdiff_t>(lane) * lanes.max_blocks + ids[i]];
        args.copies[(*args.copy_count)++] = {home, frame(slot)};
        arrivals[i] = *args.copy_count;
      }
      if (slot < slots) used[slot] = now;
      args.addresses[static_cast<ptrdiff_t>(lane) * selection.width + i] = frame(slot);
      if (args.counters == nullptr) continue;
      ++args.counters->selected_all;
      // The tail of the step before was not in any of the slots above.
      args.counters->repeated += pos > 0 && ids[i] == (pos - 1) / args.frame.block_size ? 1 : 0;
      args.counters->selected += slot < slots ? 1 : 0;
      args.counters->missing += missing ? 1 : 0;
    }
  }
}

}  // namespace nosa::ops::reference
