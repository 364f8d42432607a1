#include "ops/assign_slots.h"

#include <algorithm>

#include "backend/cuda/context.h"
#include "backend/cuda/device.cuh"

namespace nosa::cuda {
namespace {

constexpr int kMostThreads = 512;

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

// One CTA per lane. Shared memory: ids, the slot of each, the missing ones, their victims [width each], and the age of
// every slot [slots].
__global__ void AssignSlots(const ops::AssignSlotsArgs args, const int32_t* positions) {
  extern __shared__ int32_t shared[];
  const ops::SlotLanes& lanes = args.lanes;
  const int width = args.selection.width, slots = lanes.slots;
  int32_t *ids = shared, *slot_of = ids + width, *missing = slot_of + width, *victim = missing + width,
          *age = victim + width;
  __shared__ int missing_count, repeated, first_copy;
  const int lane = static_cast<int>(blockIdx.x), thread = static_cast<int>(threadIdx.x);
  const int threads = static_cast<int>(blockDim.x);
  LetNextStart();
  // What the step before has left is looked up while the selection is made.
  const int32_t pos = positions[lane / lanes.kv_heads], now = *args.step;
  int32_t* blocks = lanes.blocks + static_cast<int64_t>(lane) * slots;
  int32_t* used = lanes.used + static_cast<int64_t>(lane) * slots;
  const int32_t first_block = thread < slots ? blocks[thread] : -1, first_used = thread < slots ? used[thread] : 0;
  WaitForPrevious();
  if (pos < 0) return;
  const int own = pos / args.frame.block_size;
  const int count = args.selection.counts[lane];
  int32_t* arrivals = args.arrivals + static_cast<int64_t>(lane) * width;
  if (slots == 0) {
    for (int i = thread; i < count; i += threads) {
      const int64_t at = static_cast<int64_t>(lane) * width + i;
      args.addresses[at] = lanes.pages[static_cast<int64_t>(lane) * lanes.max_blocks + args.selection.ids[at]];
      arrivals[i] = 0;
    }
    return;
  }
  if (thread == 0) missing_count = repeated = 0;
  for (int i = thread; i < count; i += threads) {
    ids[i] = args.selection.ids[static_cast<int64_t>(lane) * width + i];
    slot_of[i] = ids[i] == own ? slots : -1;
    arrivals[i] = 0;
  }
  __syncthreads();

  // Which slots hold what is selected. The others get an age: -1 for empty, else the step that used them last; taken
  // ones are the youngest there can be.
  for (int slot = thread; slot < slots; slot += threads) {
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
  if (thread < 32) {
    int found = 0;
    for (int first = 0; first < count; first += 32) {
      const int i = first + thread;
      const bool lost = i < count && slot_of[i] < 0;
      const unsigned votes = __ballot_sync(0xffffffffu, lost);
      if (lost) missing[found + __popc(votes & ((1u << thread) - 1))] = i;
      found += __popc(votes);
    }
    if (thread == 0) {
      missing_count = found;
      first_copy = found == 0 ? 0 : atomicAdd(args.copy_count, found);
    }
  }
  __syncthreads();

  const int lost = missing_count;
  if (lost > 0) {
    // A slot's rank among all by (age, slot) says whose it becomes.
    for (int slot = thread; slot < slots; slot += threads) {
      const int32_t mine = age[slot];
      if (mine == INT32_MAX) continue;
      int rank = 0;
#pragma unroll 4
      for (int other = 0; other < slots; ++other) {
        rank += age[other] < mine || (age[other] == mine && other < slot) ? 1 : 0;
      }
      if (rank < lost) victim[rank] = slot;
    }
    __syncthreads();
    for (int m = thread; m < lost; m += threads) {
      const int i = missing[m], slot = victim[m];
      slot_of[i] = slot;
      blocks[slot] = ids[i];
      used[slot] = now;
      arrivals[i] = first_copy + m + 1;
      args.copies[first_copy + m] = {
          lanes.pages[static_cast<int64_t>(lane) * lanes.max_blocks + ids[i]],
          lanes.frames + (static_cast<size_t>(lane) * (slots + 1) + slot) * args.frame.bytes};
    }
    __syncthreads();
  }
  for (int i = thread; i < count; i += threads) {
    args.addresses[static_cast<int64_t>(lane) * width + i] =
        lanes.frames + (static_cast<size_t>(lane) * (slots + 1) + slot_of[i]) * args.frame.bytes;
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
  const int most = std::max(args.lanes.slots, args.selection.width);
  const int threads = std::min(kMostThreads, (most + 31) / 32 * 32);
  // Ages are read four at a time, so there are three more than slots.
  const size_t shared = (4 * static_cast<size_t>(args.selection.width) + static_cast<size_t>(args.lanes.slots) + 3) * 4;
  AllowShared(reinterpret_cast<const void*>(&AssignSlots), shared);
  Launch(&AssignSlots, dim3(static_cast<unsigned>(lanes)), dim3(static_cast<unsigned>(threads)), shared,
         context.stream(stream), args, context.Stage(args.positions, stream));
}

}  // namespace nosa::cuda
