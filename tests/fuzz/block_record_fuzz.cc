// Records from a disk of strangers: any bytes, any expected payload end in a Status; what verifies is what was sealed.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <vector>

#include "kv/block_record.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using nosa::kv::BlockIdentity;
  struct Header {
    uint64_t payload;
    BlockIdentity identity;
  } header = {};
  if (size < sizeof(header)) return 0;
  std::memcpy(&header, data, sizeof(header));
  // A copy of its own: a read behind the end is the sanitizer's to see.
  std::vector<std::byte> record(size - sizeof(header));
  if (!record.empty()) std::memcpy(record.data(), data + sizeof(header), record.size());

  const std::vector<std::byte> before = record;
  const bool accepted = nosa::kv::VerifyRecord(record, header.payload, header.identity).ok();
  if (record.size() < nosa::kv::kRecordTrailerBytes) {
    if (accepted) __builtin_trap();
    return 0;
  }
  const size_t payload = header.payload % (record.size() - nosa::kv::kRecordTrailerBytes + 1);
  nosa::kv::SealRecord(record, payload, header.identity);
  if (!nosa::kv::VerifyRecord(record, payload, header.identity).ok()) __builtin_trap();
  const size_t used = payload + nosa::kv::kRecordTrailerBytes;
  const bool same = std::memcmp(before.data(), record.data(), used) == 0;
  if (payload == header.payload && accepted != same) __builtin_trap();
  return 0;
}
