#include "kv/store.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "base/check.h"
#include "base/clock.h"
#include "kv/fetch.h"
#include "ops/copy_blocks.h"

namespace nosa::kv {
namespace {

// Marks reads of ReloadTail among tags of slots.
constexpr uint64_t kTailTag = uint64_t{1} << 63;

}  // namespace

KvStore::KvStore(StoreOptions options, ops::Backend* backend)
    : options_(std::move(options)), backend_(backend), budget_(options_.host_budget_bytes) {}

KvStore::~KvStore() {
  while (cold_ && cold_->in_flight() > 0) PollCold(true);
}

Result<std::unique_ptr<KvStore>> KvStore::Create(StoreOptions options, ops::Backend* backend) {
  std::unique_ptr<KvStore> store(new KvStore(std::move(options), backend));
  NOSA_RETURN_IF_ERROR(store->Init());
  return store;
}

Status KvStore::Init() {
  const BlockLayout& layout = options_.layout;
  frame_bytes_ = RoundUp(layout.BlockBytes(), 64);
  if (options_.cold) {
    NOSA_ASSIGN_OR_RETURN(std::unique_ptr<KvCodec> codec, MakeCodec(options_.codec));
    NOSA_ASSIGN_OR_RETURN(
        cold_, ColdStore::Create(layout, options_.binding, std::move(codec), std::move(options_.cold), backend_));
    frame_bytes_ = cold_->frame_bytes();
  }
  staging_bytes_ = frame_bytes_ * static_cast<uint64_t>(Lanes());
  arena_ = std::make_unique<SlotArena>(frame_bytes_, &budget_, backend_);
  for (int i = 0; i < Lanes(); ++i) {
    NOSA_ASSIGN_OR_RETURN(std::unique_ptr<EvictionPolicy> policy, MakePolicy(options_.policy));
    lanes_.emplace_back(std::move(policy), arena_.get());
  }
  const uint64_t base = BaseBytes();
  const uint64_t smallest = base + (cold_ ? SlotBytesForAll(options_.min_slots_per_lane) : 0);
  if (smallest > budget_.limit()) {
    return ResourceExhausted("the KV budget in RAM is {}, this model needs at least {} before any sequence is open",
                             FormatByteSize(budget_.limit()), FormatByteSize(smallest));
  }
  NOSA_CHECK(budget_.TryCharge(base), "the base of {} bytes was just checked", base);
  fixed_bytes_ = base;
  if (const int chunk = options_.prefix_chunk_tokens; chunk > 0) {
    NOSA_CHECK(chunk % layout.block_size == 0, "prefix chunks of {} tokens, blocks of {}", chunk, layout.block_size);
    prefixes_ = std::make_unique<PrefixIndex>(chunk, options_.binding);
    if (cold_) options_.prefix_bytes = std::min(options_.prefix_bytes, budget_.limit() / 8);
  }
  const int pages = layout.Blocks(options_.max_append_tokens) + 1;  // an append may start inside a block
  for (int i = 0; i < pages; ++i) NOSA_RETURN_IF_ERROR(AddStaging());
  return Status::Ok();
}

std::string KvStore::DescribeTiers() const {
  std::string text =
      budget_.limit() == kNoLimit ? "RAM without bound" : fmt::format("RAM {}", FormatByteSize(budget_.limit()));
  if (cold_) text += fmt::format(", then {} as {}", cold_->tier().Describe(), cold_->codec().name());
  return text;
}

uint64_t KvStore::SlotBytesForAll(int64_t slots_per_lane) const {
  return static_cast<uint64_t>(slots_per_lane) * static_cast<uint64_t>(Lanes()) * frame_bytes_;
}

uint64_t KvStore::BaseBytes() const {
  const uint64_t pages = static_cast<uint64_t>(options_.layout.Blocks(options_.max_append_tokens)) + 1;
  return pages * staging_bytes_ + (cold_ ? cold_->buffer_bytes() : 0);
}

uint64_t KvStore::SmallestBudget(std::span<const SequenceNeeds> sequences) const {
  uint64_t bytes = BaseBytes();
  int64_t blocks = 0;
  for (const SequenceNeeds& needs : sequences) {
    bytes += SequenceBytes(needs);
    blocks += BlocksOf(needs);
  }
  return bytes + SlotBytesForAll(cold_ ? options_.min_slots_per_lane : blocks);
}

uint64_t KvStore::SufficientBudget(std::span<const SequenceNeeds> sequences) const {
  uint64_t bytes = BaseBytes();
  int64_t blocks = options_.min_slots_per_lane;
  for (const SequenceNeeds& needs : sequences) {
    bytes += SequenceBytes(needs);
    blocks += BlocksOf(needs);
  }
  return bytes + SlotBytesForAll(blocks);
}

int64_t KvStore::Quota() const {
  // Without a tier below, every admitted block has its slot: they must not share.
  const int64_t pages = reserved_pages_ + retained_pages_;
  if (!cold_ || budget_.limit() == kNoLimit) return pages;
  return std::min(pages, static_cast<int64_t>((budget_.limit() - fixed_bytes_ - prefix_bytes_) / SlotBytesForAll(1)));
}

void KvStore::UpdateQuota() {
  // No lane can fill more slots than there are blocks: the rest is given back, for others to have.
  lane_quota_ = std::min<int64_t>(Quota(), std::numeric_limits<int32_t>::max());
  for (LaneCache& lane : lanes_) lane.SetQuota(static_cast<int>(lane_quota_));
}

void KvStore::Reserve(const SequenceNeeds& needs, int sign) {
  if (sign < 0) budget_.Release(SequenceBytes(needs));
  fixed_bytes_ += static_cast<uint64_t>(sign) * SequenceBytes(needs);
  reserved_pages_ += sign * BlocksOf(needs);
  UpdateQuota();
  // Only now are the bytes there that the sequence was promised.
  if (sign > 0) NOSA_CHECK(budget_.TryCharge(SequenceBytes(needs)), "an admitted sequence found no budget");
}

TierBytes KvStore::Charge(const SequenceNeeds& needs) const {
  const auto pages = static_cast<uint64_t>(BlocksOf(needs));
  // With a tier below, the slots are a cache that all share: more sequences do not need more of them.
  if (cold_) return {SequenceBytes(needs), pages * cold_->page_bytes()};
  return {SequenceBytes(needs) + SlotBytesForAll(BlocksOf(needs)), 0};
}

TierBytes KvStore::Room() const {
  const uint64_t taken = BaseBytes() + (cold_ ? SlotBytesForAll(options_.min_slots_per_lane) : 0);
  const uint64_t host = budget_.limit() - taken;  // Init found room for that much
  return {host, cold_ ? static_cast<uint64_t>(cold_->tier().capacity_pages()) * cold_->page_bytes() : 0};
}

Status KvStore::CheckAlone(const SequenceNeeds& needs) const { return AdmitBeside(BaseBytes(), 0, needs); }

Status KvStore::AdmitBeside(uint64_t fixed_bytes, int64_t reserved_pages, const SequenceNeeds& needs) const {
  const uint64_t fixed = fixed_bytes + SequenceBytes(needs);
  const int64_t pages = reserved_pages + BlocksOf(needs);
  if (cold_ && pages > cold_->tier().capacity_pages()) {
    return ResourceExhausted(
        "{} holds {}, {} tokens need {} there", cold_->tier().Describe(),
        FormatByteSize(static_cast<uint64_t>(cold_->tier().capacity_pages()) * cold_->page_bytes()), needs.max_tokens,
        FormatByteSize(static_cast<uint64_t>(pages) * cold_->page_bytes()));
  }
  const uint64_t least = fixed + SlotBytesForAll(cold_ ? options_.min_slots_per_lane : pages);
  if (least > budget_.limit()) {
    return ResourceExhausted("the KV budget in RAM is {}, {} tokens need at least {}{}",
                             FormatByteSize(budget_.limit()), needs.max_tokens, FormatByteSize(least),
                             cold_ ? "" : " (less with a disk tier)");
  }
  return Status::Ok();
}

Status KvStore::Prepare(std::span<const SequenceNeeds> sequences) {
  if (!copies_on_device() || SmallestBudget(sequences) > budget_.limit()) return Status::Ok();
  int64_t blocks = reserved_pages_ + retained_pages_;
  for (const SequenceNeeds& needs : sequences) blocks += BlocksOf(needs);
  return arena_->Reserve(static_cast<size_t>(blocks) * static_cast<size_t>(Lanes()), options_.pinning);
}

Result<SeqId> KvStore::Open(const SequenceNeeds& needs, const PrefixQuery& prefix, SharedPrefix* shared) {
  NOSA_RETURN_IF_ERROR(Admit(needs));
  const std::vector<PrefixId> chunks = MakeRoom(needs, prefix);
  // Its pages are its own before it is reserved for: what only prefixes held must not count twice.
  Sequence sequence;
  TakeOver(sequence, chunks, shared);
  Reserve(needs, 1);
  Result<Buffer> side = backend_->Allocate(needs.side_bytes, backend_->compute_memory());
  Status staging = side.status();
  // Pinning memory takes longer than filling it: not while a prompt is read.
  if (staging.ok() && copies_on_device())
    staging = arena_->Reserve(static_cast<size_t>(reserved_pages_ + retained_pages_) * static_cast<size_t>(Lanes()),
                              options_.pinning);
  if (staging.ok()) staging = AddStaging();
  if (!staging.ok()) {
    for (PageId page : sequence.pages) Unref(page);
    Reserve(needs, -1);
    return staging;
  }
  if (prefixes_ && !prefix.tokens.empty()) {
    ++stats_.prefix.lookups;
    stats_.prefix.hits += chunks.empty() ? 0 : 1;
    stats_.prefix.tokens_reused += static_cast<uint64_t>(sequence.length);
  }
  size_t i = 0;
  while (i < sequences_.size() && sequences_[i].open) ++i;
  if (i == sequences_.size()) sequences_.emplace_back();
  sequence.open = true;
  sequence.needs = needs;
  sequence.side = std::move(side).value();
  sequences_[i] = std::move(sequence);
  return SeqId(static_cast<int32_t>(i));
}

void KvStore::Close(SeqId seq) {
  Sequence& sequence = At(seq);
  NOSA_CHECK(sequence.open, "sequence {} is closed twice", seq.value);
  backend_->Synchronize({});
  while (cold_ && cold_->in_flight() > 0) PollCold(true);
  for (PageId page : sequence.pages) Unref(page);
  for (int staging : sequence.staged) free_staging_.push_back(staging);
  const SequenceNeeds needs = sequence.needs;
  sequence = Sequence();
  // One staging page leaves with the sequence that brought it.
  staging_[static_cast<size_t>(free_staging_.back())] = Buffer();
  free_buffers_.push_back(free_staging_.back());
  free_staging_.pop_back();
  Reserve(needs, -1);
  TrimPrefixes();
}

Status KvStore::AddStaging() {
  NOSA_ASSIGN_OR_RETURN(Buffer buffer, backend_->Allocate(staging_bytes_, backend_->shared_memory()));
  if (free_buffers_.empty()) {
    staging_.push_back(std::move(buffer));
    free_staging_.push_back(static_cast<int>(staging_.size()) - 1);
  } else {
    staging_[static_cast<size_t>(free_buffers_.back())] = std::move(buffer);
    free_staging_.push_back(free_buffers_.back());
    free_buffers_.pop_back();
  }
  return Status::Ok();
}

int KvStore::TakeStaging() {
  while (free_staging_.empty()) {
    NOSA_CHECK(cold_ && cold_->in_flight() > 0, "no staging page is free and none is being written");
    PollCold(true);
  }
  const int staging = free_staging_.back();
  free_staging_.pop_back();
  return staging;
}

std::byte* KvStore::StagedBlock(int staging, int lane) const {
  return staging_[static_cast<size_t>(staging)].data() + static_cast<size_t>(lane) * frame_bytes_;
}

Status KvStore::BeginAppend(SeqId seq, int tokens) {
  Sequence& sequence = At(seq);
  NOSA_CHECK(!sequence.stepping, "an append to sequence {}, which a device writes", seq.value);
  NOSA_CHECK(tokens >= 0 && tokens <= options_.max_append_tokens, "an append of {} tokens, at most {}", tokens,
             options_.max_append_tokens);
  NOSA_CHECK(sequence.length + tokens <= sequence.needs.max_tokens,
             "{} tokens after {}, the sequence was admitted for {}", tokens, sequence.length,
             sequence.needs.max_tokens);
  if (cold_) PollCold(false);
  NOSA_RETURN_IF_ERROR(sequence.write_error);
  const size_t blocks = static_cast<size_t>(options_.layout.Blocks(sequence.length + tokens)) - sequence.pages.size();
  while (sequence.staged.size() < blocks) sequence.staged.push_back(TakeStaging());
  while (sequence.staged.size() > blocks) {
    free_staging_.push_back(sequence.staged.back());
    sequence.staged.pop_back();
  }
  sequence.appending = tokens;
  return Status::Ok();
}

ops::KvRow KvStore::Row(SeqId seq, int lane, TokenPos pos) {
  const Sequence& sequence = At(seq);
  const int block = pos / options_.layout.block_size;
  const size_t i = static_cast<size_t>(block) - sequence.pages.size();
  NOSA_DCHECK(i < sequence.staged.size(), "row of token {} outside the open blocks", pos);
  return options_.layout.Row(StagedBlock(sequence.staged[i], lane), pos % options_.layout.block_size);
}

const std::byte* KvStore::OpenBlock(SeqId seq, int lane, BlockId block) const {
  const Sequence& sequence = At(seq);
  const size_t i = static_cast<size_t>(block.value) - sequence.pages.size();
  NOSA_DCHECK(i < sequence.staged.size(), "block {} is not open", block.value);
  return StagedBlock(sequence.staged[i], lane);
}

void KvStore::CommitAppend(SeqId seq) {
  Sequence& sequence = At(seq);
  sequence.length += sequence.appending;
  sequence.appending = 0;
  const size_t full = static_cast<size_t>(sequence.length / options_.layout.block_size);
  if (sequence.pages.size() == full) return;
  // The rows were written by ops, and frames that make room may still be read by some.
  if (!copies_on_device()) backend_->Synchronize({});
  while (sequence.pages.size() < full) Seal(sequence, seq);
  if (!sealed_copies_.empty()) CopySealed();
}

void KvStore::CopySealed() {
  CopyList& list = copy_lists_[next_list_];
  next_list_ = (next_list_ + 1) % copy_lists_.size();
  if (list.used) backend_->Wait(list.done);
  constexpr size_t kHeader = 16;
  const size_t bytes = sealed_copies_.size() * sizeof(ops::BlockCopy);
  if (list.memory.size() < kHeader + bytes)
    ops::Grow(*backend_, kHeader + 2 * bytes, backend_->shared_memory(), &list.memory);
  auto* count = reinterpret_cast<int32_t*>(list.memory.data());
  *count = static_cast<int32_t>(sealed_copies_.size());
  std::memcpy(list.memory.data() + kHeader, sealed_copies_.data(), bytes);
  ops::copy_blocks(*backend_, {},
                   {.copies = reinterpret_cast<const ops::BlockCopy*>(list.memory.data() + kHeader),
                    .count = count,
                    .most = *count,
                    .bytes = RoundUp(options_.layout.BlockBytes(), 16)});
  list.done = backend_->Record({});
  list.used = true;
  sealed_copies_.clear();
}

void KvStore::Seal(Sequence& sequence, SeqId seq) {
  const int staging = sequence.staged.front();
  sequence.staged.erase(sequence.staged.begin());
  const PageId page = NewPage(seq);
  sequence.pages.push_back(page);
  FillLanes(page, staging);
  if (!cold_) {
    free_staging_.push_back(staging);
    return;
  }
  Page& state = pages_[static_cast<size_t>(page.value)];
  state.staging = staging;
  cold_->StartWrite(page, state.serial, staging_[static_cast<size_t>(staging)].span().first(staging_bytes_));
  stats_.cold_peak_bytes = std::max(stats_.cold_peak_bytes, cold_->tier().used_bytes());
}

PageId KvStore::NewPage(SeqId owner) {
  PageId page(static_cast<int32_t>(pages_.size()));
  if (free_pages_.empty()) {
    pages_.emplace_back();
  } else {
    page = free_pages_.back();
    free_pages_.pop_back();
  }
  pages_[static_cast<size_t>(page.value)] = {.refs = 1, .serial = next_serial_++, .owner = owner, .used_in = step_};
  return page;
}

void KvStore::Unref(PageId page) {
  Page& state = pages_[static_cast<size_t>(page.value)];
  if (--state.refs > 0) return;
  if (state.prefix.valid()) {
    ++retained_pages_;
  } else {
    FreePage(page);
  }
}

void KvStore::FreePage(PageId page) {
  while (pages_[static_cast<size_t>(page.value)].staging >= 0) PollCold(true);
  for (LaneCache& lane : lanes_) lane.DropPage(page);
  if (cold_) cold_->Free(page);
  if (lost_page_ == page) lost_page_ = PageId();
  free_pages_.push_back(page);
}

void KvStore::FillLanes(PageId page, int staging) {
  // The newest block is local to every coming query: nothing is likelier to be read.
  const UseHint hint = {step_, std::numeric_limits<float>::infinity()};
  for (int lane = 0; lane < Lanes(); ++lane) {
    LaneCache& cache = lanes_[static_cast<size_t>(lane)];
    const int slot = cache.Take(page, hint, [&](const LaneCache::Slot&) { return cold_ != nullptr; });
    NOSA_CHECK(slot >= 0 || cold_, "a block of an admitted sequence found no slot");
    if (slot < 0) continue;
    if (copies_on_device()) {
      sealed_copies_.push_back({StagedBlock(staging, lane), cache.at(slot).data});
    } else {
      std::memcpy(cache.at(slot).data, StagedBlock(staging, lane), options_.layout.BlockBytes());
    }
  }
}

void KvStore::PollCold(bool wait) {
  for (const ColdCompletion& done : cold_->Poll(wait)) {
    if (done.is_write) {
      Page& page = pages_[static_cast<size_t>(done.page.value)];
      free_staging_.push_back(page.staging);
      page.staging = -1;
      if (!done.status.ok()) {
        page.unwritten = page.unsound = true;
        At(page.owner).write_error = done.status;
        if (flush_error_.ok()) flush_error_ = done.status;
      }
      continue;
    }
    ++stats_.blocks_fetched;
    stats_.bytes_fetched += cold_->record_bytes();
    if (!done.status.ok()) pages_[static_cast<size_t>(done.page.value)].unsound = true;
    if (done.status.code() == StatusCode::kDataLoss) {
      ++stats_.damaged_blocks;
      lost_page_ = done.page;
    }
    if ((done.tag & kTailTag) != 0) {
      --tail_reads_;
      if (!done.status.ok()) tail_error_ = done.status;
    } else {
      NOSA_CHECK(active_fetch_ != nullptr, "a read ended that nobody waits for");
      active_fetch_->OnRead(done);
    }
  }
}

Status KvStore::WaitForWrite(PageId page) {
  while (pages_[static_cast<size_t>(page.value)].staging >= 0) PollCold(true);
  const Page& state = pages_[static_cast<size_t>(page.value)];
  return state.unwritten ? At(state.owner).write_error : Status::Ok();
}

Result<int> KvStore::ReloadTail(PageId page) {
  const int staging = TakeStaging();
  tail_error_ = WaitForWrite(page);
  for (int lane = 0; lane < Lanes(); ++lane) {
    const LaneCache& cache = lanes_[static_cast<size_t>(lane)];
    const int slot = cache.Find(page);
    if (slot >= 0) {
      std::memcpy(StagedBlock(staging, lane), cache.at(slot).data, options_.layout.BlockBytes());
      continue;
    }
    NOSA_CHECK(cold_, "a sealed block is in no tier");
    if (!tail_error_.ok()) break;
    ++tail_reads_;
    cold_->StartRead(page, pages_[static_cast<size_t>(page.value)].serial, lane,
                     {StagedBlock(staging, lane), frame_bytes_}, kTailTag);
  }
  while (tail_reads_ > 0) PollCold(true);
  if (tail_error_.ok()) return staging;
  free_staging_.push_back(staging);
  return tail_error_;
}

std::byte* KvStore::Frame(PageId page, int lane) const {
  const LaneCache& cache = lanes_[static_cast<size_t>(lane)];
  const int slot = cache.Find(page);
  NOSA_CHECK(slot >= 0, "page {} of lane {} has no slot", page.value, lane);
  return cache.at(slot).data;
}

void KvStore::BeginSteps(SeqId seq) {
  Sequence& sequence = At(seq);
  NOSA_CHECK(!cold_ && !sequence.stepping && sequence.appending == 0,
             "steps of sequence {}: {} tokens are being appended, cold tier: {}", seq.value, sequence.appending,
             cold_ != nullptr);
  backend_->Synchronize({});
  const UseHint hint = {step_, std::numeric_limits<float>::infinity()};
  while (static_cast<int64_t>(sequence.pages.size()) < BlocksOf(sequence.needs)) {
    const PageId page = NewPage(seq);
    sequence.pages.push_back(page);
    for (int lane = 0; lane < Lanes(); ++lane) {
      const int slot = lanes_[static_cast<size_t>(lane)].Take(page, hint, [](const LaneCache::Slot&) { return false; });
      NOSA_CHECK(slot >= 0, "a block of an admitted sequence found no slot");
      if (sequence.staged.empty()) continue;
      std::memcpy(Frame(page, lane), StagedBlock(sequence.staged.front(), lane), options_.layout.BlockBytes());
    }
    // At most one is staged: the tail.
    if (sequence.staged.empty()) continue;
    free_staging_.push_back(sequence.staged.back());
    sequence.staged.pop_back();
  }
  sequence.stepping = true;
}

std::byte* KvStore::Home(SeqId seq, int lane, BlockId block) const {
  const Sequence& sequence = At(seq);
  NOSA_CHECK(sequence.stepping && static_cast<size_t>(block.value) < sequence.pages.size(),
             "block {} of sequence {} has no home", block.value, seq.value);
  return Frame(sequence.pages[static_cast<size_t>(block.value)], lane);
}

void KvStore::CountSteps(SeqId seq, int tokens) {
  Sequence& sequence = At(seq);
  NOSA_CHECK(sequence.stepping && tokens >= 0 && sequence.length + tokens <= sequence.needs.max_tokens,
             "{} tokens after {}, the sequence was admitted for {}", tokens, sequence.length,
             sequence.needs.max_tokens);
  sequence.length += tokens;
}

void KvStore::EndSteps(SeqId seq) {
  Sequence& sequence = At(seq);
  NOSA_CHECK(sequence.stepping, "sequence {} takes no steps", seq.value);
  backend_->Synchronize({});
  const size_t full = static_cast<size_t>(sealed_blocks(seq));
  if (sequence.length % options_.layout.block_size != 0) {
    const int staging = TakeStaging();
    for (int lane = 0; lane < Lanes(); ++lane)
      std::memcpy(StagedBlock(staging, lane), Frame(sequence.pages[full], lane), options_.layout.BlockBytes());
    sequence.staged.push_back(staging);
  }
  while (sequence.pages.size() > full) {
    Unref(sequence.pages.back());
    sequence.pages.pop_back();
  }
  sequence.stepping = false;
}

Status KvStore::Truncate(SeqId seq, int tokens) {
  Sequence& sequence = At(seq);
  NOSA_CHECK(!sequence.stepping, "a cut of sequence {}, which a device writes", seq.value);
  NOSA_CHECK(tokens >= 0 && tokens <= sequence.length, "truncation to {} of {} tokens", tokens, sequence.length);
  backend_->Synchronize({});
  const size_t full = static_cast<size_t>(tokens / options_.layout.block_size);
  const auto drop_staged = [&](size_t keep) {
    while (sequence.staged.size() > keep) {
      free_staging_.push_back(sequence.staged.back());
      sequence.staged.pop_back();
    }
  };
  const size_t open_tail = sequence.length % options_.layout.block_size != 0 ? 1 : 0;
  drop_staged(open_tail);
  sequence.appending = 0;
  const bool has_tail = tokens % options_.layout.block_size != 0;
  if (full < sequence.pages.size()) {
    // Read before anything is given up: a failure leaves the sequence whole.
    int tail = -1;
    if (has_tail) {
      NOSA_ASSIGN_OR_RETURN(tail, ReloadTail(sequence.pages[full]));
    }
    drop_staged(0);
    if (has_tail) sequence.staged.push_back(tail);
  } else if (!has_tail) {
    drop_staged(0);
  }
  while (sequence.pages.size() > full) {
    Unref(sequence.pages.back());
    sequence.pages.pop_back();
  }
  sequence.length = tokens;
  TrimPrefixes();
  return Status::Ok();
}

Status KvStore::Flush() {
  while (cold_ && cold_->in_flight() > 0) PollCold(true);
  return flush_error_;
}

BlockId KvStore::TakeLostBlock(SeqId seq) {
  const std::vector<PageId>& pages = At(seq).pages;
  const auto found = std::find(pages.begin(), pages.end(), lost_page_);
  if (!lost_page_.valid() || found == pages.end()) return BlockId();
  if (const PrefixId chunk = pages_[static_cast<size_t>(lost_page_.value)].prefix; chunk.valid())
    stats_.prefix.chunks_damaged += static_cast<uint64_t>(ForgetFrom(chunk));
  lost_page_ = PageId();
  return BlockId(static_cast<int32_t>(found - pages.begin()));
}

StoreStats KvStore::stats() const {
  StoreStats stats = stats_;
  stats.host_peak_bytes = budget_.peak();
  stats.cold_bytes = cold_ ? cold_->tier().used_bytes() : 0;
  stats.cold_peak_bytes = std::max(stats.cold_peak_bytes, stats.cold_bytes);
  stats.prefix.chunks = prefixes_ ? static_cast<int64_t>(prefixes_->size()) : 0;
  stats.prefix.retained_bytes =
      static_cast<uint64_t>(retained_pages_) * (cold_ ? cold_->page_bytes() : SlotBytesForAll(1));
  stats.prefix.summary_bytes = prefix_bytes_;
  return stats;
}

}  // namespace nosa::kv
