// K and V as int8 with one scale per token and per K or V; s exact. About half of bf16, a quarter of f32.
//
// Encoded form, packed: k_scale [B] f32, v_scale [B] f32, s [B] f32 (if the layout has it), K [B, Dk] i8, V [B, Dv] i8.
// A value is code * scale with code in [-127, 127] and scale = max |x| / 127 over the finite values of the row, so the
// largest value is exact but for rounding and the others are off by half a step at most. Code -128 is NaN: what is not
// finite comes back as NaN, since a broken model must not look sound because its cache went through a codec.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "kv/codec.h"

namespace nosa::kv {
namespace {

constexpr float kMaxCode = 127;
constexpr int8_t kNotFinite = -128;

template <typename T>
float Widen(T value) {
  return static_cast<float>(value);
}

// max |x| of the finite values.
template <typename T>
float MaxFinite(const T* row, int dim) {
  float max = 0;
  for (int i = 0; i < dim; ++i) {
    const float magnitude = std::fabs(Widen(row[i]));
    max = magnitude <= std::numeric_limits<float>::max() && magnitude > max ? magnitude : max;
  }
  return max;
}

// max / 127, moved where float arithmetic would spoil the ends of its range: below the normal numbers the quotient
// may round so far down that 127 steps do not reach `max`, and at the top 127 steps may overflow.
float ScaleOf(float max) {
  const float scale = max / kMaxCode;
  if (scale < std::numeric_limits<float>::min() && scale * kMaxCode < max) return std::nextafter(scale, 1.0f);
  if (scale * kMaxCode > std::numeric_limits<float>::max()) return std::nextafter(scale, 0.0f);
  return scale;
}

template <typename T>
float EncodeRow(const T* row, int dim, int8_t* codes) {
  const float scale = ScaleOf(MaxFinite(row, dim));
  const float divisor = scale > 0 ? scale : 1;  // a row of zeros
  for (int i = 0; i < dim; ++i) {
    const float steps = Widen(row[i]) / divisor;
    // To nearest by truncation, which every vector unit has; the comparison is false for NaN. A finite value is at
    // most 127 steps and a rounding from zero.
    const bool finite = std::fabs(steps) < kMaxCode + 1;
    codes[i] = finite ? static_cast<int8_t>(static_cast<int>(steps + std::copysign(0.5f, steps))) : kNotFinite;
  }
  return scale;
}

float DecodeOne(int8_t code, float scale) {
  return code == kNotFinite ? std::numeric_limits<float>::quiet_NaN() : static_cast<float>(code) * scale;
}

template <typename T>
void DecodeRow(const int8_t* codes, int dim, float scale, T* row) {
  for (int i = 0; i < dim; ++i) row[i] = T(DecodeOne(codes[i], scale));
}

// Where the parts of an encoded block begin, in bytes. `has_importance` decides whether s has a part.
struct Parts {
  explicit Parts(const BlockLayout& layout)
      : tokens(static_cast<size_t>(layout.block_size)),
        s(2 * tokens * sizeof(float)),
        k(s + layout.SBytes()),
        v(k + tokens * static_cast<size_t>(layout.k_dim)),
        end(v + tokens * static_cast<size_t>(layout.v_dim)) {}
  size_t tokens, s, k, v, end;
};

// One of K and V: `scales` and `codes` are its parts of the encoded form. `scales` may lie anywhere.
template <typename T>
void EncodeMatrix(const T* rows, int tokens, int dim, std::byte* scales, std::byte* codes) {
  for (int t = 0; t < tokens; ++t) {
    const int64_t at = int64_t{t} * dim;
    const float scale = EncodeRow(rows + at, dim, reinterpret_cast<int8_t*>(codes) + at);
    std::memcpy(scales + static_cast<size_t>(t) * sizeof(float), &scale, sizeof(float));
  }
}

template <typename T>
Status DecodeMatrix(const char* what, T* rows, int tokens, int dim, const std::byte* scales, const std::byte* codes) {
  for (int t = 0; t < tokens; ++t) {
    float scale = 0;
    std::memcpy(&scale, scales + static_cast<size_t>(t) * sizeof(float), sizeof(float));
    if (!(scale >= 0 && scale * kMaxCode <= std::numeric_limits<float>::max())) {
      return DataLoss("int8: expected a finite scale of {} row {}, found {}", what, t, scale);
    }
    const int64_t at = int64_t{t} * dim;
    DecodeRow(reinterpret_cast<const int8_t*>(codes) + at, dim, scale, rows + at);
  }
  return Status::Ok();
}

template <typename T>
void EncodeAs(const BlockLayout& layout, const std::byte* block, std::byte* out) {
  const Parts parts(layout);
  const auto* k = reinterpret_cast<const T*>(layout.K(block));
  const auto* v = reinterpret_cast<const T*>(layout.V(block));
  EncodeMatrix(k, layout.block_size, layout.k_dim, out, out + parts.k);
  EncodeMatrix(v, layout.block_size, layout.v_dim, out + parts.tokens * sizeof(float), out + parts.v);
  if (layout.has_importance) std::memcpy(out + parts.s, layout.S(block), layout.SBytes());
}

template <typename T>
Status DecodeAs(const BlockLayout& layout, const std::byte* in, std::byte* block) {
  const Parts parts(layout);
  const ops::KvRow first = layout.Row(block, 0);
  NOSA_RETURN_IF_ERROR(
      DecodeMatrix("key", static_cast<T*>(first.k), layout.block_size, layout.k_dim, in, in + parts.k));
  NOSA_RETURN_IF_ERROR(DecodeMatrix("value", static_cast<T*>(first.v), layout.block_size, layout.v_dim,
                                    in + parts.tokens * sizeof(float), in + parts.v));
  if (layout.has_importance) std::memcpy(first.s, in + parts.s, layout.SBytes());
  return Status::Ok();
}

class Int8Codec final : public KvCodec {
 public:
  std::string_view name() const override { return "int8"; }
  bool lossless() const override { return false; }
  size_t EncodedBytes(const BlockLayout& layout) const override { return Parts(layout).end; }
  // Ceiling: half a step of max / 127, then a rounding to bf16 (half of 2^-7) and two to f32. Floor: a tenth of that
  // half step: the worst of a block's values is nearly half a step off unless its rows have next to no values.
  ErrorBound Error() const override { return {0.05 / 127, 0.5 / 127 + 0x1p-8 + 0x1p-20}; }

  Status Encode(const BlockLayout& layout, ConstBytes block, MutableBytes out) const override {
    const size_t encoded = EncodedBytes(layout);
    if (block.size() != layout.BlockBytes() || out.size() != encoded) {
      return InvalidArgument("int8: expected a block of {} bytes and room for {}, found {} and {}", layout.BlockBytes(),
                             encoded, block.size(), out.size());
    }
    NOSA_RETURN_IF_ERROR(CheckDType(layout));
    if (layout.dtype == DType::kF32) {
      EncodeAs<float>(layout, block.data(), out.data());
    } else {
      EncodeAs<BFloat16>(layout, block.data(), out.data());
    }
    return Status::Ok();
  }

  Status Decode(const BlockLayout& layout, ConstBytes in, MutableBytes block) const override {
    if (block.size() != layout.BlockBytes()) {
      return InvalidArgument("int8: expected room for {} bytes, found {}", layout.BlockBytes(), block.size());
    }
    if (in.size() != EncodedBytes(layout)) {
      return DataLoss("int8: expected {} encoded bytes, found {}", EncodedBytes(layout), in.size());
    }
    NOSA_RETURN_IF_ERROR(CheckDType(layout));
    if (layout.dtype == DType::kF32) return DecodeAs<float>(layout, in.data(), block.data());
    return DecodeAs<BFloat16>(layout, in.data(), block.data());
  }

 private:
  static Status CheckDType(const BlockLayout& layout) {
    if (layout.dtype == DType::kF32 || layout.dtype == DType::kBF16) return Status::Ok();
    return InvalidArgument("int8: expected a cache of f32 or bf16, found {}", DTypeName(layout.dtype));
  }
};

}  // namespace

std::unique_ptr<KvCodec> MakeInt8Codec() { return std::make_unique<Int8Codec>(); }

}  // namespace nosa::kv
