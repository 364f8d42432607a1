#include "tensor/dtype.h"

#include <array>
#include <utility>

namespace nosa {
namespace {

constexpr std::array<std::pair<DType, std::string_view>, 8> kNames = {{{DType::kF32, "f32"},
                                                                       {DType::kBF16, "bf16"},
                                                                       {DType::kF16, "f16"},
                                                                       {DType::kF64, "f64"},
                                                                       {DType::kI64, "i64"},
                                                                       {DType::kI32, "i32"},
                                                                       {DType::kU8, "u8"},
                                                                       {DType::kBool, "bool"}}};

}  // namespace

std::string_view DTypeName(DType dtype) {
  for (const auto& [value, name] : kNames) {
    if (value == dtype) return name;
  }
  return "?";
}

Result<DType> ParseDType(std::string_view name) {
  for (const auto& [value, known] : kNames) {
    if (known == name) return value;
  }
  return InvalidArgument("expected a type such as f32 or bf16, found \"{}\"", name);
}

}  // namespace nosa
