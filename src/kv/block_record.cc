#include "kv/block_record.h"

#include <xxhash.h>

#include <bit>
#include <cstring>

#include "base/check.h"

namespace nosa::kv {
namespace {

static_assert(std::endian::native == std::endian::little, "the trailer is written as it lies in memory");

// Eight letters that zeros, text and cache data do not hold by chance: what is missing where nothing was written.
constexpr uint64_t kMagic = 0x31434552'41534f4eULL;  // "NOSAREC1" as bytes

// The last kRecordTrailerBytes of a record, little-endian:
//   0  checksum, low half      XXH3-128 of Sealed
//   8  checksum, high half
//  16  magic
//  24  payload bytes
struct Trailer {
  uint64_t checksum_low = 0;
  uint64_t checksum_high = 0;
  uint64_t magic = 0;
  uint64_t payload_bytes = 0;
};
static_assert(sizeof(Trailer) == kRecordTrailerBytes);

// What the checksum is of: the payload by its own XXH3-128, so that one pass of the one-shot function reads it, then
// all that the payload must belong to.
struct Sealed {
  uint64_t payload_low = 0;
  uint64_t payload_high = 0;
  uint64_t magic = 0;
  uint64_t payload_bytes = 0;
  uint64_t binding = 0;
  uint64_t serial = 0;
  uint32_t page = 0;
  uint32_t lane = 0;
};
static_assert(std::has_unique_object_representations_v<Sealed>, "padding would be hashed");

Trailer MakeTrailer(ConstBytes payload, const BlockIdentity& identity) {
  const XXH128_hash_t content = XXH3_128bits(payload.data(), payload.size());
  const Sealed sealed = {.payload_low = content.low64,
                         .payload_high = content.high64,
                         .magic = kMagic,
                         .payload_bytes = payload.size(),
                         .binding = identity.binding,
                         .serial = identity.serial,
                         .page = identity.page,
                         .lane = identity.lane};
  const XXH128_hash_t checksum = XXH3_128bits(&sealed, sizeof(sealed));
  return {checksum.low64, checksum.high64, kMagic, payload.size()};
}

}  // namespace

void SealRecord(MutableBytes record, size_t payload, const BlockIdentity& identity) {
  NOSA_CHECK(record.size() >= kRecordTrailerBytes && record.size() - kRecordTrailerBytes >= payload,
             "a record of {} bytes has no room for a payload of {} and a trailer of {}", record.size(), payload,
             kRecordTrailerBytes);
  const Trailer trailer = MakeTrailer(record.first(payload), identity);
  std::memcpy(record.data() + payload, &trailer, sizeof(trailer));
  const MutableBytes padding = record.subspan(payload + kRecordTrailerBytes);
  if (!padding.empty()) std::memset(padding.data(), 0, padding.size());
}

Status VerifyRecord(ConstBytes record, size_t payload, const BlockIdentity& identity) {
  // Subtracted, not added: a payload near the largest size_t must not wrap around.
  if (record.size() < kRecordTrailerBytes || record.size() - kRecordTrailerBytes < payload) {
    return DataLoss("record of page {}, lane {}: expected {} + {} bytes, found {}: cut short", identity.page,
                    identity.lane, payload, kRecordTrailerBytes, record.size());
  }
  Trailer found;
  std::memcpy(&found, record.data() + payload, sizeof(found));
  if (found.magic != kMagic) {
    return DataLoss(
        "record of page {}, lane {}: expected the mark {:016x} behind {} bytes, found {:016x}: never written",
        identity.page, identity.lane, kMagic, payload, found.magic);
  }
  if (found.payload_bytes != payload) {
    return DataLoss("record of page {}, lane {}: expected a payload of {} bytes, found one of {}", identity.page,
                    identity.lane, payload, found.payload_bytes);
  }
  const Trailer expected = MakeTrailer(record.first(payload), identity);
  if (found.checksum_low != expected.checksum_low || found.checksum_high != expected.checksum_high) {
    return DataLoss(
        "record of page {}, lane {}, serial {}: expected checksum {:016x}{:016x}, found {:016x}{:016x}: damaged, or of "
        "another block",
        identity.page, identity.lane, identity.serial, expected.checksum_high, expected.checksum_low,
        found.checksum_high, found.checksum_low);
  }
  return Status::Ok();
}

}  // namespace nosa::kv
