// Beginnings of sequences that stay cached for others: what the store keeps of them, and what it gives up for room.
//
// A page of a kept chunk is paid for either by the open sequences that use it (each has reserved all its blocks, shared
// or not) or, once there are none, by retained_pages_. So closing a sequence never needs more than it gives back, and
// damage of a shared block can be made good by every user in a place of its own.
#include <algorithm>

#include "base/check.h"
#include "kv/store.h"

namespace nosa::kv {

bool KvStore::PrefixesFit(int64_t more_pages, uint64_t more_bytes) const {
  const int64_t pages = reserved_pages_ + retained_pages_ + more_pages;
  if (cold_ && pages > cold_->tier().capacity_pages()) return false;
  const uint64_t slots = SlotBytesForAll(cold_ ? options_.min_slots_per_lane : pages);
  return fixed_bytes_ + prefix_bytes_ + more_bytes + slots <= budget_.limit();
}

bool KvStore::IsSound(const KeptChunk& chunk) {
  for (const PageId page : chunk.pages) {
    while (pages_[static_cast<size_t>(page.value)].staging >= 0) PollCold(true);
    if (pages_[static_cast<size_t>(page.value)].unsound) return false;
  }
  return true;
}

std::vector<PrefixId> KvStore::KeptChunks(const PrefixQuery& prefix, size_t unsure) {
  std::vector<PrefixId> chunks;
  if (prefixes_ == nullptr) return chunks;
  const size_t size = static_cast<size_t>(prefixes_->chunk_tokens());
  for (size_t begin = 0; begin + size <= prefix.tokens.size(); begin += size) {
    const PrefixId before = chunks.empty() ? PrefixId() : chunks.back();
    const PrefixId chunk = prefixes_->Find(prefix.scope, before, prefix.tokens.subspan(begin, size));
    if (!chunk.valid()) break;
    // Only what is safe below the fastest tier is shared: a failed write concerns the sequence that made it alone.
    if (chunks.size() >= unsure && !IsSound(kept_[static_cast<size_t>(chunk.value)])) {
      stats_.prefix.chunks_damaged += static_cast<uint64_t>(ForgetFrom(chunk));
      break;
    }
    prefixes_->Touch(chunk);
    chunks.push_back(chunk);
  }
  return chunks;
}

int64_t KvStore::RetainedPages(std::span<const PrefixId> chunks) const {
  int64_t pages = 0;
  for (const PrefixId chunk : chunks) {
    for (const PageId page : kept_[static_cast<size_t>(chunk.value)].pages)
      pages += pages_[static_cast<size_t>(page.value)].refs == 0 ? 1 : 0;
  }
  return pages;
}

std::vector<PrefixId> KvStore::MakeRoom(const SequenceNeeds& needs, const PrefixQuery& prefix) {
  std::vector<PrefixId> chunks = KeptChunks(prefix, 0);
  int64_t own = RetainedPages(chunks);  // which the sequence pays for from now on
  while (!PrefixesFit(BlocksOf(needs) - own, SequenceBytes(needs))) {
    const PrefixId oldest = prefixes_ ? prefixes_->OldestLeaf() : PrefixId();
    NOSA_CHECK(oldest.valid(), "an admitted sequence found no room beside no prefixes");
    // Its own were used last: they go when nothing else is left.
    if (!chunks.empty() && oldest == chunks.back()) {
      chunks.pop_back();
      own = RetainedPages(chunks);
    }
    ForgetLeaf(oldest);
    ++stats_.prefix.chunks_evicted;
  }
  return chunks;
}

void KvStore::TakeOver(Sequence& sequence, std::span<const PrefixId> chunks, SharedPrefix* shared) {
  if (shared != nullptr) *shared = {.first = sequence.length, .chunks = {}};
  for (const PrefixId id : chunks) {
    const KeptChunk& chunk = kept_[static_cast<size_t>(id.value)];
    for (const PageId page : chunk.pages) {
      Page& state = pages_[static_cast<size_t>(page.value)];
      if (state.refs++ == 0) --retained_pages_;
      sequence.pages.push_back(page);
    }
    sequence.length += prefixes_->chunk_tokens();
    if (shared != nullptr) shared->chunks.push_back(chunk.side.span());
  }
}

void KvStore::SharePrefix(SeqId seq, const PrefixQuery& prefix, SharedPrefix* shared) {
  *shared = {};
  Sequence& sequence = At(seq);
  shared->first = sequence.length;
  if (prefixes_ == nullptr) return;
  const size_t have = static_cast<size_t>(sequence.length / prefixes_->chunk_tokens());
  NOSA_CHECK(sequence.length % prefixes_->chunk_tokens() == 0 && !sequence.stepping,
             "sequence {} of {} tokens takes over chunks of {}", seq.value, sequence.length, prefixes_->chunk_tokens());
  NOSA_CHECK(static_cast<int64_t>(prefix.tokens.size()) <= sequence.needs.max_tokens,
             "a prefix of {} tokens for a sequence of {}", prefix.tokens.size(), sequence.needs.max_tokens);
  const std::vector<PrefixId> chunks = KeptChunks(prefix, have);
  if (chunks.size() <= have) return;
  // What a pass began that did not come through.
  free_staging_.insert(free_staging_.end(), sequence.staged.begin(), sequence.staged.end());
  sequence.staged.clear();
  sequence.appending = 0;
  TakeOver(sequence, std::span(chunks).subspan(have), shared);
  stats_.prefix.tokens_reused += static_cast<uint64_t>(sequence.length - shared->first);
  UpdateQuota();
}

MutableBytes KvStore::KeepPrefix(SeqId seq, const PrefixQuery& prefix, uint64_t side_bytes) {
  if (prefixes_ == nullptr) return {};
  const Sequence& sequence = At(seq);
  const size_t size = static_cast<size_t>(prefixes_->chunk_tokens()), tokens = prefix.tokens.size();
  NOSA_CHECK(tokens > 0 && tokens % size == 0 && tokens == static_cast<size_t>(sequence.length) && !sequence.stepping,
             "a prefix of {} tokens of sequence {}, which has {}, is kept in chunks of {}", tokens, seq.value,
             sequence.length, size);
  const std::vector<PrefixId> chunks = KeptChunks(prefix, tokens / size);
  if (chunks.size() != tokens / size - 1) return {};
  const std::span<const PageId> pages =
      std::span(sequence.pages).last(size / static_cast<size_t>(options_.layout.block_size));
  // After a cut inside a chunk that it had taken over, the sequence still has blocks of that one.
  if (std::any_of(pages.begin(), pages.end(),
                  [&](PageId page) { return pages_[static_cast<size_t>(page.value)].prefix.valid(); }))
    return {};
  const uint64_t bytes = RoundUp(side_bytes, 64) + prefixes_->BytesOf(prefix.scope);
  const uint64_t slots = SlotBytesForAll(cold_ ? options_.min_slots_per_lane : reserved_pages_);
  if (bytes > options_.prefix_bytes || fixed_bytes_ + bytes + slots > budget_.limit()) return {};
  while (!PrefixesFit(0, bytes) || PrefixHostBytes() + bytes > options_.prefix_bytes) {
    const PrefixId oldest = prefixes_->OldestLeaf();
    if (!oldest.valid() || (!chunks.empty() && oldest == chunks.back())) {
      UpdateQuota();
      return {};
    }
    ForgetLeaf(oldest);
    ++stats_.prefix.chunks_evicted;
  }
  prefix_bytes_ += bytes;
  if (Quota() != lane_quota_) UpdateQuota();
  NOSA_CHECK(budget_.TryCharge(bytes), "a kept chunk of {} bytes found no budget", bytes);
  Result<Buffer> side = backend_->Allocate(side_bytes, backend_->shared_memory());
  const PrefixId before = chunks.empty() ? PrefixId() : chunks.back();
  const PrefixId id = side.ok() ? prefixes_->Insert(prefix.scope, before, prefix.tokens.last(size)) : PrefixId();
  if (!id.valid()) {
    prefix_bytes_ -= bytes;
    budget_.Release(bytes);
    UpdateQuota();
    return {};
  }
  if (static_cast<size_t>(id.value) >= kept_.size()) kept_.resize(static_cast<size_t>(id.value) + 1);
  KeptChunk& kept = kept_[static_cast<size_t>(id.value)];
  kept.side = std::move(side).value();
  kept.bytes = bytes;
  kept.pages.assign(pages.begin(), pages.end());
  for (const PageId page : kept.pages) pages_[static_cast<size_t>(page.value)].prefix = id;
  ++stats_.prefix.chunks_kept;
  return kept.side.span();
}

void KvStore::ForgetLeaf(PrefixId leaf) {
  // Ops may still read what a sequence took over, or write what was kept.
  backend_->Synchronize({});
  KeptChunk& chunk = kept_[static_cast<size_t>(leaf.value)];
  for (const PageId page : chunk.pages) {
    Page& state = pages_[static_cast<size_t>(page.value)];
    state.prefix = PrefixId();
    if (state.refs > 0) continue;
    FreePage(page);
    --retained_pages_;
  }
  budget_.Release(chunk.bytes);
  prefix_bytes_ -= chunk.bytes;
  chunk = KeptChunk();
  prefixes_->Remove(leaf);
}

int KvStore::ForgetFrom(PrefixId chunk) {
  int forgotten = 0;
  for (;;) {
    PrefixId leaf = chunk;
    for (PrefixId after = prefixes_->AnyAfter(leaf); after.valid(); after = prefixes_->AnyAfter(leaf)) leaf = after;
    ForgetLeaf(leaf);
    ++forgotten;
    if (leaf == chunk) break;
  }
  UpdateQuota();
  return forgotten;
}

void KvStore::TrimPrefixes() {
  while (prefixes_ && prefixes_->size() > 0 && (!PrefixesFit(0, 0) || PrefixHostBytes() > options_.prefix_bytes)) {
    ForgetLeaf(prefixes_->OldestLeaf());
    ++stats_.prefix.chunks_evicted;
  }
  if (prefixes_ && Quota() != lane_quota_) UpdateQuota();
}

void KvStore::DropPrefixes() {
  while (prefixes_ && prefixes_->size() > 0) ForgetLeaf(prefixes_->OldestLeaf());
  UpdateQuota();
}

}  // namespace nosa::kv
