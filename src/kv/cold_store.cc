#include "kv/cold_store.h"

#include <algorithm>
#include <array>

#include "base/check.h"

namespace nosa::kv {
namespace {

// Codecs that are not the identity need room to encode a page and to hold records until they are decoded. Enough to
// keep a disk busy (its rate is flat from 8 reads in flight on), small against any budget.
constexpr int kWriteBuffers = 1;
constexpr int kReadBuffers = 16;

}  // namespace

Result<std::unique_ptr<ColdStore>> ColdStore::Create(const BlockLayout& layout, uint64_t binding,
                                                     std::unique_ptr<KvCodec> codec, std::unique_ptr<Tier> tier,
                                                     ops::Backend* backend) {
  std::unique_ptr<ColdStore> store(new ColdStore(layout, binding, std::move(codec), std::move(tier)));
  store->payload_bytes_ = store->codec_->EncodedBytes(layout);
  // Frames start on cache lines, whatever little the tier asks for.
  store->record_bytes_ = RecordBytes(store->payload_bytes_, std::max<size_t>(64, store->tier_->alignment()));
  store->page_bytes_ = store->record_bytes_ * static_cast<uint64_t>(layout.lanes());
  NOSA_RETURN_IF_ERROR(store->tier_->SetPageBytes(store->page_bytes_));
  if (store->codec_->identity()) {
    store->frame_bytes_ = store->record_bytes_;
    return store;
  }
  store->frame_bytes_ = RoundUp(layout.BlockBytes(), 64);
  NOSA_ASSIGN_OR_RETURN(store->buffers_,
                        backend->Allocate(kWriteBuffers * store->page_bytes_ + kReadBuffers * store->record_bytes_,
                                          backend->shared_memory()));
  for (int i = 0; i < kWriteBuffers; ++i) store->free_write_buffers_.push_back(i);
  for (int i = 0; i < kReadBuffers; ++i) store->free_read_buffers_.push_back(kWriteBuffers + i);
  return store;
}

ColdStore::~ColdStore() {
  while (in_flight() > 0) Poll(true);
}

BlockIdentity ColdStore::Identity(PageId page, uint64_t serial, int lane) const {
  return {binding_, serial, static_cast<uint32_t>(page.value), static_cast<uint32_t>(lane)};
}

MutableBytes ColdStore::BounceBuffer(int index) {
  const size_t i = static_cast<size_t>(index);
  if (index < kWriteBuffers) return buffers_.span().subspan(i * page_bytes_, page_bytes_);
  return buffers_.span().subspan(kWriteBuffers * page_bytes_ + (i - kWriteBuffers) * record_bytes_, record_bytes_);
}

void ColdStore::StartWrite(PageId page, uint64_t serial, MutableBytes blocks) {
  NOSA_CHECK(blocks.size() == frame_bytes_ * static_cast<size_t>(layout_.lanes()), "a page of {} bytes was given {}",
             frame_bytes_ * static_cast<size_t>(layout_.lanes()), blocks.size());
  queued_.push_back({.is_write = true, .page = page, .serial = serial, .memory = blocks});
  SubmitQueued();
}

void ColdStore::StartRead(PageId page, uint64_t serial, int lane, MutableBytes frame, uint64_t tag) {
  NOSA_CHECK(frame.size() == frame_bytes_, "a frame of {} bytes was given {}", frame_bytes_, frame.size());
  queued_.push_back({.page = page, .serial = serial, .lane = lane, .tag = tag, .memory = frame});
  SubmitQueued();
}

void ColdStore::SubmitQueued() {
  // In order, so that no transfer waits for ever behind later ones.
  while (!queued_.empty() && Submit(queued_.front())) queued_.pop_front();
}

bool ColdStore::Submit(const Transfer& wanted) {
  Transfer transfer = wanted;
  if (!codec_->identity()) {
    std::vector<int>& free = transfer.is_write ? free_write_buffers_ : free_read_buffers_;
    if (free.empty()) return false;
    transfer.buffer = free.back();
    free.pop_back();
  }
  size_t tag = transfers_.size();
  if (free_tags_.empty()) {
    transfers_.push_back(transfer);
  } else {
    tag = free_tags_.back();
    free_tags_.pop_back();
    transfers_[tag] = transfer;
  }
  const MutableBytes memory = transfer.buffer < 0 ? transfer.memory : BounceBuffer(transfer.buffer);
  if (transfer.is_write) {
    EncodePage(transfer, memory);
    tier_->StartWrite(transfer.page, memory, tag);
  } else {
    tier_->StartRead(transfer.page, static_cast<uint64_t>(transfer.lane) * record_bytes_, memory, tag);
  }
  return true;
}

void ColdStore::EncodePage(const Transfer& transfer, MutableBytes out) const {
  for (int lane = 0; lane < layout_.lanes(); ++lane) {
    const size_t i = static_cast<size_t>(lane);
    const MutableBytes record = out.subspan(i * record_bytes_, record_bytes_);
    if (!codec_->identity()) {
      const ConstBytes block = transfer.memory.subspan(i * frame_bytes_, layout_.BlockBytes());
      const Status encoded = codec_->Encode(layout_, block, record.first(payload_bytes_));
      NOSA_CHECK(encoded.ok(), "{}", encoded.ToString());
    }
    SealRecord(record, payload_bytes_, Identity(transfer.page, transfer.serial, lane));
  }
}

Status ColdStore::Finish(const Transfer& transfer, const Status& status) {
  if (!status.ok() || transfer.is_write) return status;
  const MutableBytes record = transfer.buffer < 0 ? transfer.memory : BounceBuffer(transfer.buffer);
  NOSA_RETURN_IF_ERROR(VerifyRecord(record, payload_bytes_, Identity(transfer.page, transfer.serial, transfer.lane)));
  if (transfer.buffer < 0) return Status::Ok();
  return codec_->Decode(layout_, record.first(payload_bytes_), transfer.memory.first(layout_.BlockBytes()));
}

std::span<const ColdCompletion> ColdStore::Poll(bool wait) {
  done_.clear();
  std::array<TierCompletion, 64> finished;
  const size_t n = tier_->Poll(finished, wait);
  for (size_t i = 0; i < n; ++i) {
    const size_t tag = finished[i].tag;
    const Transfer& transfer = transfers_[tag];
    Status status = Finish(transfer, finished[i].status);
    done_.push_back({transfer.is_write, transfer.page, transfer.tag, std::move(status)});
    if (transfer.buffer >= 0) (transfer.is_write ? free_write_buffers_ : free_read_buffers_).push_back(transfer.buffer);
    free_tags_.push_back(tag);
  }
  SubmitQueued();
  return done_;
}

}  // namespace nosa::kv
