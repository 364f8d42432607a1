#include "kv/fetch.h"

#include <algorithm>

#include "base/check.h"
#include "base/clock.h"

namespace nosa::kv {

BlockFetch::~BlockFetch() {
  while (loading_ > 0) store_.PollCold(true);
  if (std::find(states_.begin(), states_.end(), State::kOut) != states_.end()) store_.backend_->Synchronize({});
  for (size_t i = 0; i < states_.size(); ++i) {
    if (states_[i] == State::kReady || states_[i] == State::kOut) LaneOf(static_cast<int32_t>(i)).Unpin(slots_[i]);
  }
  if (store_.active_fetch_ == this) store_.active_fetch_ = nullptr;
}

void BlockFetch::Start(std::span<const BlockWant> wants) {
  NOSA_CHECK(store_.active_fetch_ == nullptr, "two fetches at once on one store");
  store_.active_fetch_ = this;
  wants_ = wants;
  states_.assign(wants.size(), State::kMissing);
  slots_.assign(wants.size(), -1);
  remaining_ = static_cast<int64_t>(wants.size());
  for (int32_t i = 0; i < static_cast<int32_t>(wants.size()); ++i) {
    const BlockWant& want = wants[static_cast<size_t>(i)];
    if (ranges_.empty() || ranges_.back().lane != want.lane) ranges_.push_back({want.lane, i, i, i, i});
    ranges_.back().end = i + 1;
    LaneCache& cache = LaneOf(i);
    const int slot = cache.Find(want.page);
    ++store_.stats_.lookups;
    store_.pages_[static_cast<size_t>(want.page.value)].used_in = store_.step_;
    if (slot >= 0) JoinSlot(i, slot);
  }
  for (LaneRange& range : ranges_) Issue(range);
}

void BlockFetch::Issue(LaneRange& range) {
  for (; range.next_load < range.end; ++range.next_load) {
    if (states_[static_cast<size_t>(range.next_load)] != State::kMissing) continue;
    if (!StartLoad(range, range.next_load)) return;
  }
}

// Blocks nobody wants in this pass leave first, then those whose part is computed.
int BlockFetch::TakeSlot(LaneRange& range, int32_t want) {
  const BlockWant& w = wants_[static_cast<size_t>(want)];
  LaneCache& cache = LaneOf(want);
  const UseHint hint = {store_.step_, w.importance};
  const int slot = cache.Take(w.page, hint, [&](const LaneCache::Slot& s) { return s.used_in != store_.step_; });
  if (slot >= 0) return slot;
  return cache.Take(w.page, hint, [](const LaneCache::Slot&) { return true; });
}

// The block is in a slot, or on its way there for another want.
void BlockFetch::JoinSlot(int32_t want, int slot) {
  const size_t i = static_cast<size_t>(want);
  LaneCache& cache = LaneOf(want);
  cache.Use(slot, {store_.step_, wants_[i].importance});
  slots_[i] = slot;
  if (cache.at(slot).loading) {
    states_[i] = State::kFollowing;
    ++following_;
    return;
  }
  ++store_.stats_.hits;
  cache.Pin(slot);
  states_[i] = State::kReady;
}

bool BlockFetch::StartLoad(LaneRange& range, int32_t want) {
  if (const int there = LaneOf(want).Find(wants_[static_cast<size_t>(want)].page); there >= 0) {
    JoinSlot(want, there);
    return true;
  }
  int slot = TakeSlot(range, want);
  while (slot < 0 && order_ == Order::kAscending && GiveUpLaterHit(range, want)) slot = TakeSlot(range, want);
  if (slot < 0) return false;
  const size_t i = static_cast<size_t>(want);
  const PageId page = wants_[i].page;
  NOSA_CHECK(store_.cold_, "page {} is in no tier", page.value);
  LaneCache& cache = LaneOf(want);
  cache.SetLoading(slot, true);
  slots_[i] = slot;
  states_[i] = State::kLoading;
  ++loading_;
  const Status written = store_.WaitForWrite(page);
  if (!written.ok()) {
    OnRead({.is_write = false, .page = page, .tag = static_cast<uint64_t>(want), .status = written});
    return true;
  }
  store_.cold_->StartRead(page, store_.pages_[static_cast<size_t>(page.value)].serial, wants_[i].lane,
                          {cache.at(slot).data, store_.frame_bytes_}, static_cast<uint64_t>(want));
  return true;
}

// In ascending order a lane can be full of blocks that are wanted later. When nothing before `want` holds a slot that
// will come free (what the caller holds may stay out), the farthest of them makes room: it is read again when its turn
// comes (Belady's choice).
bool BlockFetch::GiveUpLaterHit(LaneRange& range, int32_t want) {
  for (int32_t i = range.begin; i < want; ++i) {
    const State state = states_[static_cast<size_t>(i)];
    if (state == State::kLoading || state == State::kFollowing || state == State::kReady) return false;
  }
  for (int32_t i = range.end - 1; i > want; --i) {
    if (states_[static_cast<size_t>(i)] == State::kReady && GiveUpSlot(range, want, slots_[static_cast<size_t>(i)]))
      return true;
  }
  return false;
}

// Takes the slot from every want after `want` that waits to be handed it; not when the caller holds it, too.
bool BlockFetch::GiveUpSlot(LaneRange& range, int32_t want, int slot) {
  LaneCache& cache = LaneOf(want);
  const auto waits = [&](int32_t i) {
    return slots_[static_cast<size_t>(i)] == slot && states_[static_cast<size_t>(i)] == State::kReady;
  };
  int waiting = 0;
  for (int32_t i = want + 1; i < range.end; ++i) waiting += waits(i) ? 1 : 0;
  if (waiting != cache.at(slot).pins) return false;
  for (int32_t i = want + 1; i < range.end; ++i) {
    if (!waits(i)) continue;
    cache.Unpin(slot);
    slots_[static_cast<size_t>(i)] = -1;
    states_[static_cast<size_t>(i)] = State::kMissing;
    --store_.stats_.hits;
  }
  cache.Drop(slot);
  return true;
}

void BlockFetch::OnRead(const ColdCompletion& done) {
  const size_t i = static_cast<size_t>(done.tag);
  LaneCache& cache = LaneOf(static_cast<int32_t>(i));
  --loading_;
  cache.SetLoading(slots_[i], false);
  if (following_ > 0) EndFollowing(static_cast<int32_t>(i), done.status.ok());
  if (!done.status.ok()) {
    if (error_.ok()) error_ = done.status;
    cache.Drop(slots_[i]);
    slots_[i] = -1;
    states_[i] = State::kMissing;
    return;
  }
  cache.Pin(slots_[i]);
  states_[i] = State::kReady;
}

void BlockFetch::EndFollowing(int32_t want, bool read) {
  const BlockWant& w = wants_[static_cast<size_t>(want)];
  const int slot = slots_[static_cast<size_t>(want)];
  // Reads start in the order of the wants: who follows comes after.
  for (size_t i = static_cast<size_t>(want) + 1; i < wants_.size() && wants_[i].lane == w.lane; ++i) {
    if (states_[i] != State::kFollowing || slots_[i] != slot) continue;
    --following_;
    if (read) {
      ++store_.stats_.hits;
      LaneOf(want).Pin(slot);
      states_[i] = State::kReady;
    } else {
      slots_[i] = -1;
      states_[i] = State::kMissing;
    }
  }
}

void BlockFetch::Collect() {
  ready_.clear();
  for (LaneRange& range : ranges_) {
    for (int32_t i = range.next_out; i < range.end; ++i) {
      State& state = states_[static_cast<size_t>(i)];
      if (state == State::kReady) {
        state = State::kOut;
        ready_.push_back(i);
      } else if (order_ == Order::kAscending &&
                 (state == State::kMissing || state == State::kLoading || state == State::kFollowing)) {
        break;
      }
      if (i == range.next_out && (state == State::kOut || state == State::kDone)) ++range.next_out;
    }
  }
  remaining_ -= static_cast<int64_t>(ready_.size());
}

Result<std::span<const int32_t>> BlockFetch::Next() {
  if (remaining_ == 0) {
    ready_.clear();
    return std::span<const int32_t>(ready_);
  }
  if (store_.cold_ && loading_ > 0) store_.PollCold(false);
  for (;;) {
    if (error_.ok()) {
      for (LaneRange& range : ranges_) Issue(range);
    }
    if (!error_.ok()) return error_;  // also of what ended while Issue waited for a write
    Collect();
    if (!ready_.empty()) return std::span<const int32_t>(ready_);
    NOSA_CHECK(loading_ > 0, "a fetch waits for {} blocks and none is on its way: the caller holds every slot",
               remaining_);
    const Stopwatch stalled;
    store_.PollCold(true);
    store_.stats_.stall_seconds += stalled.Seconds();
  }
}

const std::byte* BlockFetch::Block(int32_t want) const {
  const size_t i = static_cast<size_t>(want);
  NOSA_DCHECK(states_[i] == State::kOut, "want {} is not handed out", want);
  return LaneOf(want).at(slots_[i]).data;
}

void BlockFetch::Release(std::span<const int32_t> wants) {
  // What is read into the slots next must not meet ops that still read them.
  if (store_.cold_ && !wants.empty()) store_.backend_->Synchronize({});
  for (const int32_t want : wants) {
    const size_t i = static_cast<size_t>(want);
    NOSA_DCHECK(states_[i] == State::kOut, "want {} is released twice", want);
    LaneOf(want).Unpin(slots_[i]);
    states_[i] = State::kDone;
  }
}

}  // namespace nosa::kv
