// K and V as bf16, s exact: half the bytes of an f32 cache.
#include <cstring>

#include "kv/codec.h"

namespace nosa::kv {
namespace {

class Bf16Codec final : public KvCodec {
 public:
  std::string_view name() const override { return "example-bf16"; }
  bool lossless() const override { return false; }
  // bf16 keeps 8 bits: rounding moves a value by half of 2^-7 of it at most. The floor is 0, since a cache that is
  // bf16 already passes unchanged.
  ErrorBound Error() const override { return {.floor = 0, .ceiling = 0x1p-8}; }

  size_t EncodedBytes(const BlockLayout& layout) const override {
    return Values(layout) * sizeof(BFloat16) + layout.SBytes();
  }

  Status Encode(const BlockLayout& layout, ConstBytes block, MutableBytes out) const override {
    if (block.size() != layout.BlockBytes() || out.size() != EncodedBytes(layout)) {
      return InvalidArgument("example-bf16: expected a block of {} bytes and room for {}, found {} and {}",
                             layout.BlockBytes(), EncodedBytes(layout), block.size(), out.size());
    }
    // K and V are adjacent and packed. `out` may lie at any address, so values go through memcpy.
    for (size_t i = 0; i < Values(layout); ++i) {
      const BFloat16 value(LoadFloat(block.data(), layout.dtype, i));
      std::memcpy(out.data() + i * sizeof(value), &value, sizeof(value));
    }
    if (layout.has_importance) {
      std::memcpy(out.data() + Values(layout) * sizeof(BFloat16), layout.S(block.data()), layout.SBytes());
    }
    return Status::Ok();
  }

  Status Decode(const BlockLayout& layout, ConstBytes in, MutableBytes block) const override {
    if (block.size() != layout.BlockBytes()) {
      return InvalidArgument("example-bf16: expected room for {} bytes, found {}", layout.BlockBytes(), block.size());
    }
    if (in.size() != EncodedBytes(layout)) {
      return DataLoss("example-bf16: expected {} encoded bytes, found {}", EncodedBytes(layout), in.size());
    }
    for (size_t i = 0; i < Values(layout); ++i) {
      BFloat16 value;
      std::memcpy(&value, in.data() + i * sizeof(value), sizeof(value));
      StoreFloat(block.data(), layout.dtype, i, static_cast<float>(value));
    }
    if (layout.has_importance) {
      std::memcpy(layout.Row(block.data(), 0).s, in.data() + Values(layout) * sizeof(BFloat16), layout.SBytes());
    }
    return Status::Ok();
  }

 private:
  static size_t Values(const BlockLayout& layout) {
    return (layout.KBytes() + layout.VBytes()) / DTypeBytes(layout.dtype);
  }
};

}  // namespace

std::unique_ptr<KvCodec> MakeExampleCodec() { return std::make_unique<Bf16Codec>(); }

}  // namespace nosa::kv
