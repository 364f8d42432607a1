// The block as it is: lossless, the size of the block, and tiers read it straight into its slot.
#include <cstring>

#include "kv/codec.h"

namespace nosa::kv {
namespace {

class RawCodec final : public KvCodec {
 public:
  std::string_view name() const override { return "raw"; }
  bool lossless() const override { return true; }
  bool identity() const override { return true; }
  size_t EncodedBytes(const BlockLayout& layout) const override { return layout.BlockBytes(); }
  ErrorBound Error() const override { return {}; }

  Status Encode(const BlockLayout& layout, ConstBytes block, MutableBytes out) const override {
    const size_t bytes = layout.BlockBytes();
    if (block.size() != bytes || out.size() != bytes) {
      return InvalidArgument("raw: expected a block and room of {} bytes, found {} and {}", bytes, block.size(),
                             out.size());
    }
    std::memcpy(out.data(), block.data(), bytes);
    return Status::Ok();
  }

  Status Decode(const BlockLayout& layout, ConstBytes in, MutableBytes block) const override {
    const size_t bytes = layout.BlockBytes();
    if (block.size() != bytes) return InvalidArgument("raw: expected room for {} bytes, found {}", bytes, block.size());
    if (in.size() != bytes) return DataLoss("raw: expected {} encoded bytes, found {}", bytes, in.size());
    std::memcpy(block.data(), in.data(), bytes);
    return Status::Ok();
  }
};

}  // namespace

std::unique_ptr<KvCodec> MakeRawCodec() { return std::make_unique<RawCodec>(); }

}  // namespace nosa::kv
