#include "ops/assign_slots.h"

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

constexpr int kThreads = 256;

// Where `block` is among the ascending ids; -1 when it is not.
__device__ int Find(const int32_t* ids, int count, int32_t block) {
  int low = 0, high = count;
  while (low < high) {
    const int middle = (low + high) / 2;
    if (ids[middle] < block) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  return low < count && ids[low] == block ? low : -1;
}

// One CTA per lane. Shared memory: ids, the slot of each, which of the missing ones it is, the victims of these [width
// each], and the age of every slot [slots].
//
// It takes as long as its loads and atomics take one after another, so what does not depend on another is asked for
// beside it: a thread's id beside the count, its page before it is known whether it is missing, and the victims are
// found, by other warps, while the first one counts who needs them.
__global__ void __launch_bounds__(kThreads) AssignSlots(const ops::AssignSlotsArgs args, const int32_t* positions) {
  extern __shared__ int32_t shared[];
  const ops::SlotLanes& lanes = args.lanes;
  const int width = args.selection.width, slots = lanes.slots;
  int32_t *ids = shared, *slot_of = ids + width, *order = slot_of + width, *victim = order + width,
          *age = victim + width;
  __shared__ int missing_count, repeated, first_copy;
  const int lane = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  LetNextStart();
  // What the step before has left is looked up while the selection is made.
  const int32_t pos = positions[lane / lanes.kv_heads], now = *args.step;
  int32_t* blocks = lanes.blocks + static_cast<int64_t>(lane) * slots;
  int32_t* used = lanes.used + static_cast<int64_t>(lane) * slots;
  const int32_t first_block = thread < slots ? blocks[thread] : -1, first_used = thread < slots ? used[thread] : 0;
  WaitForPrevious();
  if (pos < 0) return;
  const int own = pos / args.frame.block_size;
  const int64_t first_entry = static_cast<int64_t>(lane) * width;
  const int count = args.selection.counts[lane];
  const int32_t first_id = thread < width ? args.selection.ids[first_entry + thread] : 0;
  const auto id_of = [&](int i) { return i == thread ? first_id : args.selection.ids[first_entry + i]; };
  std::byte* const* pages = lanes.pages + static_cast<int64_t>(lane) * lanes.max_blocks;
  if (slots == 0) {
    for (int i = thread; i < count; i += kThreads) {
      args.addresses[first_entry + i] = pages[id_of(i)];
      args.arrivals[first_entry + i] = 0;
    }
    return;
  }
  std::byte* first_page = thread < count && first_id != own ? pages[first_id] : nullptr;
  if (thread == 0) missing_count = repeated = 0;
  for (int i = thread; i < count; i += kThreads) {
    ids[i] = id_of(i);
    slot_of[i] = ids[i] == own ? slots : -1;
  }
  __syncthreads();

  // Which slots hold what is selected. The others get an age: -1 for empty, else the step that used them last; taken
  // ones are the youngest there can be.
  for (int slot = thread; slot < slots; slot += kThreads) {
    const int32_t block = slot == thread ? first_block : blocks[slot];
    const int32_t last = slot == thread ? first_used : used[slot];
    const int i = block < 0 ? -1 : Find(ids, count, block);
    age[slot] = block < 0 ? -1 : last;
    if (i < 0) continue;
    if (args.counters != nullptr && last == now - 1) atomicAdd(&repeated, 1);
    slot_of[i] = slot;
    used[slot] = now;
    age[slot] = INT32_MAX;
  }
  __syncthreads();
  if (thread < kWarpSize) {
    int found = 0;
    for (int first = 0; first < count; first += kWarpSize) {
      const int i = first + thread;
      const bool lost = i < count && slot_of[i] < 0;
      const unsigned votes = __ballot_sync(kAllLanes, lost);
      if (lost) order[i] = found + __popc(votes & ((1u << thread) - 1));
      found += __popc(votes);
    }
    if (thread == 0) {
      missing_count = found;
      first_copy = found == 0 ? 0 : atomicAdd(args.copy_count, found);
    }
  } else {
    // A slot's rank among all by (age, slot) says whose it becomes.
    for (int slot = thread - kWarpSize; slot < slots; slot += kThreads - kWarpSize) {
      const int32_t mine = age[slot];
      if (mine == INT32_MAX) continue;
      int rank = 0;
#pragma unroll 4
      for (int other = 0; other < slots; ++other) {
        rank += age[other] < mine || (age[other] == mine && other < slot) ? 1 : 0;
      }
      if (rank < width) victim[rank] = slot;
    }
  }
  __syncthreads();

  const int lost = missing_count;
  for (int i = thread; i < count; i += kThreads) {
    int slot = slot_of[i], arrival = 0;
    const bool missing = slot < 0;
    if (missing) {
      slot = victim[order[i]];
      blocks[slot] = ids[i];
      used[slot] = now;
      arrival = first_copy + order[i] + 1;
    }
    std::byte* frame = lanes.frames + (static_cast<size_t>(lane) * (slots + 1) + slot) * args.frame.bytes;
    if (missing) args.copies[arrival - 1] = {i == thread ? first_page : pages[ids[i]], frame};
    args.addresses[first_entry + i] = frame;
    args.arrivals[first_entry + i] = arrival;
  }
  if (thread == 0 && args.counters != nullptr) {
    // The tail of the step before was not in any of the slots above.
    const int again = repeated + (pos > 0 && Find(ids, count, (pos - 1) / args.frame.block_size) >= 0 ? 1 : 0);
    const int sealed = count - (count > 0 && ids[count - 1] == own ? 1 : 0);
    atomicAdd(&args.counters->selected, static_cast<unsigned long long>(sealed));
    atomicAdd(&args.counters->missing, static_cast<unsigned long long>(lost));
    atomicAdd(&args.counters->repeated, static_cast<unsigned long long>(again));
    atomicAdd(&args.counters->selected_all, static_cast<unsigned long long>(count));
  }
}

}  // namespace

void assign_slots(ops::Backend& backend, ops::Stream stream, const ops::AssignSlotsArgs& args) {
  const int lanes = args.lanes.seats * args.lanes.kv_heads;
  if (lanes == 0) return;
  Context& context = ContextOf(backend);
  // Ages are read four at a time, so there are three more than slots.
  const size_t shared = (4 * static_cast<size_t>(args.selection.width) + static_cast<size_t>(args.lanes.slots) + 3) * 4;
  AllowShared(reinterpret_cast<const void*>(&AssignSlots), shared);
  Launch(&AssignSlots, dim3(static_cast<unsigned>(lanes)), dim3(kThreads), shared, context.stream(stream), args,
         context.Stage(args.positions, stream));
}

}  // namespace nosa::cuda
