// Sealed pages below the fastest tier: codec, record and tier as one. What comes out of Poll has been checked and
// decoded.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <span>
#include <vector>

#include "base/ids.h"
#include "kv/block_layout.h"
#include "kv/block_record.h"
#include "kv/codec.h"
#include "kv/tier.h"
#include "ops/backend.h"
#include "tensor/buffer.h"

namespace nosa::kv {

struct ColdCompletion {
  bool is_write = false;
  PageId page;
  uint64_t tag = 0;  // of a read
  // kDataLoss: the record is damaged and the memory read into is unspecified. Else as TierCompletion.
  Status status;
};

// For one caller thread.
class ColdStore {
 public:
  // Takes the tier and sets its page size. Fails as Tier::SetPageBytes.
  static Result<std::unique_ptr<ColdStore>> Create(const BlockLayout& layout, uint64_t binding,
                                                   std::unique_ptr<KvCodec> codec, std::unique_ptr<Tier> tier,
                                                   ops::Backend* backend);
  ~ColdStore();

  // Bytes from one block to the next in memory handed to this class: room for a whole record when the codec
  // is the identity, so that blocks are read in place.
  size_t frame_bytes() const { return frame_bytes_; }
  // Memory this class holds for encoding and decoding, part of the fastest tier's budget. 0 for the identity.
  uint64_t buffer_bytes() const { return buffers_.size(); }
  uint64_t page_bytes() const { return page_bytes_; }      // on the tier
  uint64_t record_bytes() const { return record_bytes_; }  // moved per block
  const KvCodec& codec() const { return *codec_; }
  Tier& tier() { return *tier_; }

  // Starts writing a page: lanes() blocks, frame_bytes() apart, borrowed (and their padding written to) until its
  // completion. `serial` tells this content of the page from earlier ones.
  void StartWrite(PageId page, uint64_t serial, MutableBytes blocks);
  // Starts reading one block of a page that was written under `serial` into a frame, borrowed until the completion.
  void StartRead(PageId page, uint64_t serial, int lane, MutableBytes frame, uint64_t tag);
  // Completions that are there; with `wait`, at least one unless none is in flight.
  std::span<const ColdCompletion> Poll(bool wait);
  size_t in_flight() const { return tier_->in_flight() + queued_.size(); }
  void Free(PageId page) { tier_->Free(page); }

 private:
  struct Transfer {
    bool is_write = false;
    PageId page;
    uint64_t serial = 0;
    int lane = 0;         // of a read
    uint64_t tag = 0;     // of a read, the caller's
    MutableBytes memory;  // the caller's blocks or frame
    int buffer = -1;      // bounce buffer; -1: none
  };

  ColdStore(const BlockLayout& layout, uint64_t binding, std::unique_ptr<KvCodec> codec, std::unique_ptr<Tier> tier)
      : layout_(layout), binding_(binding), codec_(std::move(codec)), tier_(std::move(tier)) {}
  BlockIdentity Identity(PageId page, uint64_t serial, int lane) const;
  MutableBytes BounceBuffer(int index);
  // Gives the transfer to the tier, or false when it must wait for a bounce buffer.
  bool Submit(const Transfer& transfer);
  void SubmitQueued();
  void EncodePage(const Transfer& transfer, MutableBytes out) const;
  Status Finish(const Transfer& transfer, const Status& status);

  BlockLayout layout_;
  uint64_t binding_;
  std::unique_ptr<KvCodec> codec_;
  std::unique_ptr<Tier> tier_;
  size_t payload_bytes_ = 0;
  size_t record_bytes_ = 0;
  size_t frame_bytes_ = 0;
  uint64_t page_bytes_ = 0;
  Buffer buffers_;  // bounce buffers: kWriteBuffers pages, then kReadBuffers records
  std::vector<int> free_write_buffers_, free_read_buffers_;
  std::vector<Transfer> transfers_;  // by the tag given to the tier
  std::vector<size_t> free_tags_;
  std::deque<Transfer> queued_;  // waiting for a bounce buffer
  std::vector<ColdCompletion> done_;
};

}  // namespace nosa::kv
