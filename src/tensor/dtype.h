// Element types. bf16 arithmetic does not exist here: values are widened to float32, computed, and
// rounded once (to nearest, ties to even) when stored.
#pragma once

#include <bit>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/status.h"

namespace nosa {

enum class DType : uint8_t { kF32, kBF16, kF16, kF64, kI64, kI32, kU8, kBool };

constexpr size_t DTypeBytes(DType dtype) {
  switch (dtype) {
    case DType::kF64:
    case DType::kI64: return 8;
    case DType::kF32:
    case DType::kI32: return 4;
    case DType::kBF16:
    case DType::kF16: return 2;
    case DType::kU8:
    case DType::kBool: return 1;
  }
  return 0;
}

// "f32", "bf16", ...: the names of flags and messages.
std::string_view DTypeName(DType dtype);
Result<DType> ParseDType(std::string_view name);

// The storage of one bfloat16.
struct BFloat16 {
  uint16_t bits = 0;

  BFloat16() = default;
  // Rounds to nearest even; NaN stays NaN.
  explicit BFloat16(float value) {
    const uint32_t word = std::bit_cast<uint32_t>(value);
    if ((word & 0x7fffffffu) > 0x7f800000u) {
      bits = static_cast<uint16_t>((word >> 16) | 0x40u);
    } else {
      bits = static_cast<uint16_t>((word + 0x7fffu + ((word >> 16) & 1u)) >> 16);
    }
  }
  explicit operator float() const { return std::bit_cast<float>(static_cast<uint32_t>(bits) << 16); }
};
static_assert(sizeof(BFloat16) == 2);

// Element `i` of an array of kF32 or kBF16, widened. For scalar code; checks nothing.
inline float LoadFloat(const void* data, DType dtype, size_t i) {
  return dtype == DType::kF32 ? static_cast<const float*>(data)[i]
                              : static_cast<float>(static_cast<const BFloat16*>(data)[i]);
}
// Stores `value` rounded to `dtype` (kF32 or kBF16).
inline void StoreFloat(void* data, DType dtype, size_t i, float value) {
  if (dtype == DType::kF32) {
    static_cast<float*>(data)[i] = value;
  } else {
    static_cast<BFloat16*>(data)[i] = BFloat16(value);
  }
}

}  // namespace nosa
