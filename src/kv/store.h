// The KV cache of every open sequence: which blocks exist, where they are, and under which budget.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "kv/block_layout.h"
#include "kv/cold_store.h"
#include "kv/host_budget.h"
#include "kv/lane_cache.h"
#include "kv/prefix_index.h"
#include "kv/slot_arena.h"
#include "ops/seats.h"

namespace nosa::kv {

struct StoreOptions {
  BlockLayout layout;
  uint64_t host_budget_bytes = kNoLimit;  // hard bound of everything the store holds in the fastest tier
  std::string policy = "importance-lru";
  std::string codec = "raw";             // used with a cold tier
  std::unique_ptr<Tier> cold = nullptr;  // null: everything stays in the fastest tier
  uint64_t binding = 0;                  // what cached bytes belong to: hash of weights, tokenizer, tenant
  int max_append_tokens = 512;           // largest BeginAppend
  // With fewer slots a lane could not load one block while it computes on another; four leaves room for both.
  int min_slots_per_lane = 4;
  // Chunks of this many tokens, whole blocks, can be kept for other sequences that begin with them (KeepPrefix); 0:
  // none.
  int prefix_chunk_tokens = 0;
  // Most bytes of the fastest tier for what only kept prefixes hold. With a tier below, which has their blocks, never
  // more than an eighth of the host budget: summaries take the place of slots, a cache that helps every sequence.
  uint64_t prefix_bytes = kNoLimit;
  PinningProgress pinning = nullptr;  // told while memory is pinned for a device
};

// Tokens a sequence may begin with. Only sequences of one scope share.
struct PrefixQuery {
  std::string_view scope = {};
  std::span<const TokenId> tokens = {};
};

// What a sequence shares from now on: `chunks.size()` chunks from position `first` on, with the bytes KeepPrefix was
// given for each. Valid until a sequence is opened, closed, appended to or cut, or a chunk is kept.
struct SharedPrefix {
  int first = 0;
  std::vector<ConstBytes> chunks;
};

struct PrefixStats {
  uint64_t lookups = 0;         // sequences opened with a query
  uint64_t hits = 0;            // of these, began with kept chunks
  uint64_t tokens_reused = 0;   // that sequences took over, in Open and SharePrefix
  uint64_t chunks_kept = 0;     // by KeepPrefix, in all
  uint64_t chunks_evicted = 0;  // to make room
  uint64_t chunks_damaged = 0;  // forgotten because bytes of them, or before them, were damaged or never written
  int64_t chunks = 0;           // now
  // Now, of blocks that no open sequence uses: in the fastest tier or, with one, in the tier below. And of the rest
  // that is kept for each chunk, in the fastest tier.
  uint64_t retained_bytes = 0;
  uint64_t summary_bytes = 0;
};

// What one sequence will need at most.
struct SequenceNeeds {
  int max_tokens = 0;
  uint64_t side_bytes = 0;  // memory of the attention for its summaries, part of the host budget if it lies there
};

// Bytes of each tier that admission counts.
struct TierBytes {
  uint64_t host = 0;
  uint64_t cold = 0;

  TierBytes& operator+=(const TierBytes& other) {
    host += other.host;
    cold += other.cold;
    return *this;
  }
  TierBytes& operator-=(const TierBytes& other) {
    host -= other.host;
    cold -= other.cold;
    return *this;
  }
  friend TierBytes operator+(TierBytes a, const TierBytes& b) { return a += b; }
  bool Within(const TierBytes& room) const { return host <= room.host && cold <= room.cold; }
  friend bool operator==(const TierBytes&, const TierBytes&) = default;
};

struct StoreStats {
  uint64_t host_peak_bytes = 0;  // most the fastest tier ever held
  uint64_t cold_bytes = 0;       // held by the cold tier now
  uint64_t cold_peak_bytes = 0;
  uint64_t lookups = 0;  // sealed blocks asked for
  uint64_t hits = 0;     // of these, found in the fastest tier
  uint64_t blocks_fetched = 0;
  uint64_t bytes_fetched = 0;   // moved from the cold tier, padding included
  uint64_t damaged_blocks = 0;  // refused by their checksum
  double stall_seconds = 0;     // spent with nothing to do but wait for the cold tier
  PrefixStats prefix;
};

// Where one sealed block is now, and when it was needed.
struct BlockPlace {
  int fast_lanes = 0;    // lanes that hold it in the fastest tier
  uint64_t used_in = 0;  // newest step() in which a pass read it, of whichever sequence
  bool shared = false;   // other sequences have the same page
};

class BlockFetch;

// One caller thread. Sequences are opened (admitted) under the budgets or refused; after that, no call runs out of
// memory. Ops work on its memory on stream 0; where the host or a disk touches what they may still use, it waits for
// that stream. Blocks are written once, through BeginAppend / Row / CommitAppend; full ones are sealed, go to the cold
// tier at once, and are read back through BlockFetch (kv/fetch.h).
class KvStore {
 public:
  // `backend` outlives the store. kResourceExhausted says the smallest budget for one minimal sequence.
  static Result<std::unique_ptr<KvStore>> Create(StoreOptions options, ops::Backend* backend);
  ~KvStore();

  const BlockLayout& layout() const { return options_.layout; }
  bool has_cold_tier() const { return cold_ != nullptr; }
  std::string DescribeTiers() const;

  // The smallest and the sufficient host budget for `sequences` open at once. Sufficient: nothing is ever fetched.
  uint64_t SmallestBudget(std::span<const SequenceNeeds> sequences) const;
  uint64_t SufficientBudget(std::span<const SequenceNeeds> sequences) const;

  // Admission as arithmetic: Open takes a sequence exactly when its charge and those of all open ones are together
  // within the room (if the machine has the memory). Constant in the store's life; for any thread.
  TierBytes Charge(const SequenceNeeds& needs) const;
  TierBytes Room() const;
  // What Open would say if nothing else were open. For any thread.
  Status CheckAlone(const SequenceNeeds& needs) const;

  // Pins memory for these sequences where a device is to read it, all at once, so that Open need not. Nothing where
  // there is none to pin, or it would pass the budget: Open says so.
  Status Prepare(std::span<const SequenceNeeds> sequences);
  // Admits a sequence, or kResourceExhausted naming the tier, what it has and the smallest size that would do.
  // Kept prefixes are no reason to refuse: those used longest ago are forgotten first.
  Result<SeqId> Open(const SequenceNeeds& needs) { return Open(needs, {}, nullptr); }
  // The same, and the sequence begins with the kept chunks that `prefix` begins with, as many as there are.
  Result<SeqId> Open(const SequenceNeeds& needs, const PrefixQuery& prefix, SharedPrefix* shared);
  void Close(SeqId seq);

  // The sequence, at the end of a chunk, takes over the kept chunks that come next in `prefix`, whose tokens before
  // that are its own.
  void SharePrefix(SeqId seq, const PrefixQuery& prefix, SharedPrefix* shared);
  // Keeps the last chunk of the sequence, which has exactly prefix.tokens, for others and beyond its Close, with
  // `side_bytes` bytes that the caller fills in: shared memory of the backend. Empty when it is not kept: it is
  // already, or some block of it in another chunk; the chunks before it are not; or there is no room.
  MutableBytes KeepPrefix(SeqId seq, const PrefixQuery& prefix, uint64_t side_bytes);
  // Forgets every kept chunk. Sequences that use them go on.
  void DropPrefixes();
  // Whether more than one open sequence uses the page.
  bool shared(PageId page) const { return pages_[static_cast<size_t>(page.value)].refs > 1; }

  int length(SeqId seq) const { return At(seq).length; }
  int max_tokens(SeqId seq) const { return At(seq).needs.max_tokens; }
  // side_bytes of zeroed compute memory of the backend, the caller's until Close: not for the host to look into.
  MutableBytes side(SeqId seq) { return At(seq).side.span(); }
  int sealed_blocks(SeqId seq) const {
    return At(seq).stepping ? length(seq) / options_.layout.block_size : static_cast<int>(At(seq).pages.size());
  }
  PageId page(SeqId seq, BlockId block) const { return At(seq).pages[static_cast<size_t>(block.value)]; }

  // Of every sealed block, oldest first; not while a BlockFetch lives. Looks at every lane of every block: for people
  // who watch, not for steps. What a device's steps did since BeginSteps is not known here.
  std::vector<BlockPlace> Places(SeqId seq) const;

  // Makes room for `tokens` more (at most max_append_tokens, within max_tokens). One sequence at a time may be between
  // the begin and the commit of more than one token; of one, every sequence may. Rows at positions [length, length +
  // tokens) may then be written; nothing counts until CommitAppend. A second BeginAppend without a commit starts over.
  // Fails with what an earlier write to the cold tier failed with.
  Status BeginAppend(SeqId seq, int tokens);
  // In the backend's shared memory, as all blocks here.
  ops::KvRow Row(SeqId seq, int lane, TokenPos pos);
  // A block that is not sealed: the tail or one being appended. [layout().BlockBytes()]
  const std::byte* OpenBlock(SeqId seq, int lane, BlockId block) const;
  // The appended tokens count. Seals blocks that became full and starts their writes.
  void CommitAppend(SeqId seq);

  // From here to EndSteps a device writes the tokens that come: every block of the sequence, those to come included,
  // has a place of its own that stays (Home), and the store is told what was written (CountSteps). Without a cold tier
  // only, and nothing may be between begin and commit. The places are part of what the sequence was admitted for.
  // EndSteps makes the sequence what appends would have made it; both wait for stream 0.
  void BeginSteps(SeqId seq);
  std::byte* Home(SeqId seq, int lane, BlockId block) const;
  void CountSteps(SeqId seq, int tokens);
  void EndSteps(SeqId seq);

  // Forgets the tokens from `tokens` on; with 0 < tokens % B, reads the block that becomes the tail again if it was
  // sealed. When that fails, nothing changed but that a begun append is forgotten. kDataLoss when the block is damaged:
  // truncate to an earlier block boundary then.
  Status Truncate(SeqId seq, int tokens);

  // One forward pass starts: hints given from now on are newer.
  void NextStep() { ++step_; }
  uint64_t step() const { return step_; }

  // Waits for every write to the cold tier; the first failure, if any.
  Status Flush();

  // After a fetch or Truncate failed with kDataLoss: the sequence's block that is damaged, which is then forgotten;
  // invalid when the damage is not in this sequence.
  BlockId TakeLostBlock(SeqId seq);

  // Counters since the store was made. Peaks are of all time.
  StoreStats stats() const;
  // Most slots of a lane now: what the budget has room for, and no more than open sequences and kept prefixes can fill.
  int64_t slots_per_lane() const { return lane_quota_; }
  uint64_t host_budget_bytes() const { return budget_.limit(); }
  uint64_t host_used_bytes() const { return budget_.used(); }
  uint64_t block_record_bytes() const { return cold_ ? cold_->record_bytes() : frame_bytes_; }

 private:
  friend class BlockFetch;

  struct Page {
    int refs = 0;          // of open sequences
    PrefixId prefix = {};  // the kept chunk it is of; invalid: none
    uint64_t serial = 0;
    int staging = -1;        // staging page its write borrows; -1: none
    SeqId owner;             // told when the write fails
    uint64_t used_in = 0;    // newest step that read it
    bool unwritten = false;  // it failed: the page is nowhere but in slots
    bool unsound = false;    // that, or a read of it failed: no other sequence takes it over
  };
  struct Sequence {
    bool open = false;
    SequenceNeeds needs;
    int length = 0;
    int appending = 0;
    bool stepping = false;      // then every block has a page
    std::vector<PageId> pages;  // sealed blocks
    std::vector<int> staged;    // staging pages of the blocks after them
    Buffer side;
    Status write_error;
  };
  struct KeptChunk {
    std::vector<PageId> pages;
    Buffer side;
    uint64_t bytes = 0;  // charged to the budget
  };

  KvStore(StoreOptions options, ops::Backend* backend);
  Status Init();

  Sequence& At(SeqId seq) { return sequences_[static_cast<size_t>(seq.value)]; }
  const Sequence& At(SeqId seq) const { return sequences_[static_cast<size_t>(seq.value)]; }
  bool copies_on_device() const { return !cold_ && backend_->shared_memory() != MemoryKind::kHost; }
  int Lanes() const { return options_.layout.lanes(); }
  uint64_t SlotBytesForAll(int64_t slots_per_lane) const;
  // Of a store without sequences: staging pages of one append, codec buffers.
  uint64_t BaseBytes() const;
  // Of the host budget; summaries that lie on a device are that device's.
  uint64_t SequenceBytes(const SequenceNeeds& needs) const {
    return staging_bytes_ + (HostAddressable(backend_->compute_memory()) ? needs.side_bytes : 0);
  }
  int64_t BlocksOf(const SequenceNeeds& needs) const { return options_.layout.Blocks(needs.max_tokens); }
  // Slots per lane that the budget has room for beside what is charged for other things.
  int64_t Quota() const;
  Status Admit(const SequenceNeeds& needs) const { return AdmitBeside(fixed_bytes_, reserved_pages_, needs); }
  Status AdmitBeside(uint64_t fixed_bytes, int64_t reserved_pages, const SequenceNeeds& needs) const;
  // Adds the needs of one sequence to what is reserved (sign 1), or takes them back (-1).
  void Reserve(const SequenceNeeds& needs, int sign);
  void UpdateQuota();
  Status AddStaging();

  std::byte* StagedBlock(int staging, int lane) const;
  int TakeStaging();
  PageId NewPage(SeqId owner);
  void Unref(PageId page);
  void FreePage(PageId page);
  void Seal(Sequence& sequence, SeqId seq);
  void FillLanes(PageId page, int staging);
  std::byte* Frame(PageId page, int lane) const;
  void CopySealed();
  // The page's blocks in a staging page.
  Result<int> ReloadTail(PageId page);
  // Ends writes and tail reads; hands reads of slots to the active fetch.
  void PollCold(bool wait);
  // Once its write has ended: whether the page can be read. Else what the write failed with.
  Status WaitForWrite(PageId page);

  // Whether what is open and kept stays within all bounds with so many pages and bytes more.
  bool PrefixesFit(int64_t more_pages, uint64_t more_bytes) const;
  // The kept chunks that `prefix` begins with, oldest first; they are used now. Of those from place `unsure` on, only
  // such that can be read, which waits for their writes.
  std::vector<PrefixId> KeptChunks(const PrefixQuery& prefix, size_t unsure);
  bool IsSound(const KeptChunk& chunk);
  // Forgets chunks until an admitted sequence fits beside the rest; what is left of those that `prefix` begins with.
  // The sequence is to be reserved for next.
  std::vector<PrefixId> MakeRoom(const SequenceNeeds& needs, const PrefixQuery& prefix);
  // What options_.prefix_bytes bounds.
  uint64_t PrefixHostBytes() const { return prefix_bytes_ + (cold_ ? 0 : SlotBytesForAll(retained_pages_)); }
  int64_t RetainedPages(std::span<const PrefixId> chunks) const;
  void TakeOver(Sequence& sequence, std::span<const PrefixId> chunks, SharedPrefix* shared);
  // Forgets chunks until everything fits, after pages that were a sequence's became theirs alone.
  void TrimPrefixes();
  // The caller sets the quota when it has forgotten enough: that looks at every slot.
  void ForgetLeaf(PrefixId leaf);
  // Forgets the chunk and all that come after it; their number.
  int ForgetFrom(PrefixId chunk);

  StoreOptions options_;
  ops::Backend* backend_;
  HostBudget budget_;
  std::unique_ptr<ColdStore> cold_;
  size_t frame_bytes_ = 0;
  uint64_t staging_bytes_ = 0;  // of one staging page
  std::unique_ptr<SlotArena> arena_;
  std::vector<LaneCache> lanes_;
  int64_t lane_quota_ = 0;
  // On a device without a tier below, sealed blocks get to their slots on stream 0: the host waits for nothing.
  struct CopyList {
    Buffer memory;  // the count in its first 16 bytes, then ops::BlockCopy each
    ops::Event done;
    bool used = false;
  };
  std::vector<ops::BlockCopy> sealed_copies_;
  std::array<CopyList, 2> copy_lists_;
  size_t next_list_ = 0;
  std::vector<Buffer> staging_;
  std::vector<int> free_staging_;  // pages that may be taken
  std::vector<int> free_buffers_;  // places in staging_ without memory
  std::vector<Page> pages_;
  std::vector<PageId> free_pages_;
  int64_t reserved_pages_ = 0;
  std::vector<Sequence> sequences_;
  uint64_t step_ = 0;
  uint64_t next_serial_ = 1;
  BlockFetch* active_fetch_ = nullptr;
  int tail_reads_ = 0;  // of ReloadTail, in flight
  Status tail_error_;
  Status flush_error_;
  PageId lost_page_;
  uint64_t fixed_bytes_ = 0;  // charged to the budget for other things than slots and prefixes
  std::unique_ptr<PrefixIndex> prefixes_;
  std::vector<KeptChunk> kept_;  // by PrefixId
  uint64_t prefix_bytes_ = 0;    // of kept_, charged to the budget
  int64_t retained_pages_ = 0;   // of kept chunks, used by no open sequence: beside reserved_pages_
  StoreStats stats_;
};

}  // namespace nosa::kv
