// How a block is written to a colder tier.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "base/status.h"
#include "kv/block_layout.h"

namespace nosa::kv {

// Error of a codec: max |decoded - original| / max |original| of the K and V of a block lies in [floor, ceiling] for
// inputs that are not all equal. A floor above 0 proves that a lossy codec is really in use. s is always exact.
struct ErrorBound {
  double floor = 0;
  double ceiling = 0;
};

// Stateless and thread-safe after construction.
class KvCodec {
 public:
  virtual ~KvCodec() = default;

  virtual std::string_view name() const = 0;
  // Decode gives the bits that were encoded.
  virtual bool lossless() const = 0;
  // The encoded form is the block itself: tiers read straight into its slot.
  virtual bool identity() const { return false; }
  // Exact size in bytes of one encoded block; constant for a given layout. O(1).
  virtual size_t EncodedBytes(const BlockLayout& layout) const = 0;
  // block: layout.BlockBytes() bytes, read only, not retained. out: exactly EncodedBytes(layout) bytes, must not
  // overlap `block`. kInvalidArgument on a size mismatch; otherwise cannot fail. No allocation.
  virtual Status Encode(const BlockLayout& layout, ConstBytes block, MutableBytes out) const = 0;
  // Inverse of Encode within Error(). kDataLoss on damaged input, `block` unspecified then; never reads outside `in`.
  virtual Status Decode(const BlockLayout& layout, ConstBytes in, MutableBytes block) const = 0;
  virtual ErrorBound Error() const = 0;
};

// By the names of codecs.def; kInvalidArgument lists them.
Result<std::unique_ptr<KvCodec>> MakeCodec(std::string_view name);
std::vector<std::string> CodecNames();

}  // namespace nosa::kv
