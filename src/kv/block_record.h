// The form in which one block lies in a colder tier: encoded bytes, then a trailer that proves what they are.
#pragma once

#include <cstddef>
#include <cstdint>

#include "base/bytes.h"
#include "base/status.h"

namespace nosa::kv {

// What a record must be to be served. Any difference is damage.
struct BlockIdentity {
  uint64_t binding = 0;  // hash of weights, layout, codec and tenant
  uint64_t serial = 0;   // of the page's contents: a page id that is used again gets a new serial
  uint32_t page = 0;
  uint32_t lane = 0;
};

inline constexpr size_t kRecordTrailerBytes = 32;  // XXH3-128 of payload and identity, magic, payload size

// Size of a record of `payload` bytes, padded to `alignment`.
constexpr size_t RecordBytes(size_t payload, size_t alignment) {
  return RoundUp(payload + kRecordTrailerBytes, alignment);
}

// Writes the trailer behind record[0, payload) and zeroes the padding. record.size() >= payload + kRecordTrailerBytes.
void SealRecord(MutableBytes record, size_t payload, const BlockIdentity& identity);

// Ok when record[0, payload) is what was sealed under `identity`; kDataLoss saying what differs otherwise (cut short,
// never written, other contents, checksum). Never reads outside `record`, whatever its size.
Status VerifyRecord(ConstBytes record, size_t payload, const BlockIdentity& identity);

}  // namespace nosa::kv
