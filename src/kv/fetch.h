// One layer's demand for sealed blocks, met while the caller computes on those that are there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "kv/store.h"

namespace nosa::kv {

// A sealed block somebody will read. Plain data: a list of these is the layer's transfer plan.
struct BlockWant {
  int32_t lane = 0;
  PageId page;
  float importance = 0;  // as UseHint
};

// Brings blocks into slots as far as the lane's quota goes, hands out those that are ready, and uses the slots of
// released ones for the next. Which order blocks arrive in is not fixed; what is handed out is. One at a time per
// store. Destruction waits for its reads and unpins what it holds.
class BlockFetch {
 public:
  enum class Order : uint8_t {
    kAny,        // as they become ready: for partial results that are merged later
    kAscending,  // each lane's wants in the given order: for running results
  };

  BlockFetch(KvStore& store, Order order) : store_(store), order_(order) {}
  ~BlockFetch();
  BlockFetch(const BlockFetch&) = delete;
  BlockFetch& operator=(const BlockFetch&) = delete;

  // Sorted by lane; borrowed until destruction. A page may be wanted more than once, by sequences that share it: it is
  // read once while it stays. Starts the first reads and returns.
  void Start(std::span<const BlockWant> wants);

  // Indices of wants that are in memory now and were not handed out before, pinned until Release; empty when all
  // were. Blocks only when none is ready. The caller releases what it holds before it calls again, or at least
  // does not hold every slot of a lane. Valid until the next call.
  // kDataLoss: a block is damaged (KvStore::TakeLostBlock); kIo: the tier failed. Destroy the fetch then.
  Result<std::span<const int32_t>> Next();

  // The block of a want that was handed out and not released.
  const std::byte* Block(int32_t want) const;
  // The caller reads the wants no longer; ops on stream 0 that were given them are waited for.
  void Release(std::span<const int32_t> wants);

 private:
  friend class KvStore;
  // kFollowing: another want's read of the same block is on its way.
  enum class State : uint8_t { kMissing, kLoading, kFollowing, kReady, kOut, kDone };
  struct LaneRange {
    int32_t lane = 0;
    int32_t begin = 0, end = 0;
    int32_t next_load = 0;  // wants before it are not kMissing
    int32_t next_out = 0;   // kAscending: the next to hand out
  };

  void Issue(LaneRange& range);
  bool StartLoad(LaneRange& range, int32_t want);
  int TakeSlot(LaneRange& range, int32_t want);
  void JoinSlot(int32_t want, int slot);
  bool GiveUpLaterHit(LaneRange& range, int32_t want);
  bool GiveUpSlot(LaneRange& range, int32_t want, int slot);
  void EndFollowing(int32_t want, bool read);
  void Collect();
  void OnRead(const ColdCompletion& completion);
  LaneCache& LaneOf(int32_t want) const {
    return store_.lanes_[static_cast<size_t>(wants_[static_cast<size_t>(want)].lane)];
  }

  KvStore& store_;
  Order order_;
  std::span<const BlockWant> wants_;
  std::vector<LaneRange> ranges_;
  std::vector<State> states_;
  std::vector<int32_t> slots_;  // slot of each want that has one, else -1
  std::vector<int32_t> ready_;
  int64_t remaining_ = 0;  // not yet handed out
  int64_t loading_ = 0;
  int64_t following_ = 0;
  Status error_;
};

}  // namespace nosa::kv
