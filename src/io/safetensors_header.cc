#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <limits>
#include <utility>
#include <vector>

#include "io/json_strict.h"
#include "io/safetensors_format.h"

namespace nosa::io {
namespace internal {
namespace {

constexpr std::array<std::pair<DType, std::string_view>, 8> kFormatNames = {{{DType::kF32, "F32"},
                                                                             {DType::kF16, "F16"},
                                                                             {DType::kBF16, "BF16"},
                                                                             {DType::kF64, "F64"},
                                                                             {DType::kI64, "I64"},
                                                                             {DType::kI32, "I32"},
                                                                             {DType::kU8, "U8"},
                                                                             {DType::kBool, "BOOL"}}};

// Non-negative and within int64_t, which sizes and dimensions are counted in.
std::optional<int64_t> AsCount(const Json& value) {
  if (!value.is_number_unsigned()) return std::nullopt;
  const auto n = value.get<uint64_t>();
  if (n > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) return std::nullopt;
  return static_cast<int64_t>(n);
}

// Nothing when the product does not fit, also when a zero among the dimensions would hide that: views
// multiply some of them alone.
std::optional<uint64_t> BytesOf(const std::vector<int64_t>& shape, DType dtype) {
  auto bytes = static_cast<int64_t>(DTypeBytes(dtype));
  bool empty = false;
  for (const int64_t dim : shape) {
    if (dim == 0) {
      empty = true;
    } else if (__builtin_mul_overflow(bytes, dim, &bytes)) {
      return std::nullopt;
    }
  }
  return empty ? 0 : static_cast<uint64_t>(bytes);
}

// For messages: what comes from the file may be anything, of any length.
std::string Shown(const Json& value) {
  constexpr size_t kMaxShown = 200;  // bytes; longer than the names of real checkpoints
  std::string text = DumpJson(value);
  return text.size() > kMaxShown ? text.substr(0, kMaxShown) + "..." : text;
}

std::string Quoted(std::string_view name) { return Shown(Json(name)); }

Result<DType> ReadDType(const std::string& name, const Json& info) {
  const auto field = info.find("dtype");
  if (field == info.end() || !field->is_string()) return DataLoss("tensor {} has no dtype", Quoted(name));
  const auto& found = field->get_ref<const std::string&>();
  if (const std::optional<DType> dtype = DTypeOfFormatName(found)) return *dtype;
  return DataLoss("tensor {}: expected the dtype F32, F16, BF16, F64, I64, I32, U8 or BOOL, found {}", Quoted(name),
                  Quoted(found));
}

Result<std::vector<int64_t>> ReadCounts(const std::string& name, const Json& info, const char* key) {
  const auto field = info.find(key);
  if (field == info.end() || !field->is_array()) return DataLoss("tensor {} has no list {}", Quoted(name), key);
  std::vector<int64_t> counts;
  for (const Json& value : *field) {
    const std::optional<int64_t> count = AsCount(value);
    if (!count) {
      return DataLoss("tensor {}: expected integers from 0 to 2^63 - 1 in {}, found {}", Quoted(name), key,
                      Shown(value));
    }
    counts.push_back(*count);
  }
  return counts;
}

Result<TensorEntry> ReadEntry(const std::string& name, const Json& info, uint64_t data_bytes) {
  if (!info.is_object()) return DataLoss("tensor {}: expected an object, found {}", Quoted(name), info.type_name());
  TensorEntry entry;
  NOSA_ASSIGN_OR_RETURN(entry.dtype, ReadDType(name, info));
  NOSA_ASSIGN_OR_RETURN(entry.shape, ReadCounts(name, info, "shape"));
  NOSA_ASSIGN_OR_RETURN(const std::vector<int64_t> offsets, ReadCounts(name, info, "data_offsets"));
  if (offsets.size() != 2)
    return DataLoss("tensor {}: expected 2 data_offsets, found {}", Quoted(name), offsets.size());
  entry.begin = static_cast<uint64_t>(offsets[0]);
  entry.end = static_cast<uint64_t>(offsets[1]);
  if (entry.begin > entry.end || entry.end > data_bytes) {
    return DataLoss("tensor {} lies at bytes {} to {}, the data part has {}", Quoted(name), entry.begin, entry.end,
                    data_bytes);
  }
  const std::optional<uint64_t> bytes = BytesOf(entry.shape, entry.dtype);
  if (!bytes || *bytes != entry.end - entry.begin) {
    return DataLoss("tensor {}: {} [{}] takes {} bytes, its data_offsets span {}", Quoted(name),
                    FormatName(entry.dtype), fmt::join(entry.shape, ", "),
                    bytes ? std::to_string(*bytes) : "more than 2^63", entry.end - entry.begin);
  }
  return entry;
}

Result<std::map<std::string, std::string>> ReadMetadata(const Json& json) {
  if (!json.is_object()) return DataLoss("__metadata__: expected an object, found {}", json.type_name());
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : json.items()) {
    if (!value.is_string())
      return DataLoss("__metadata__ {}: expected a string, found {}", Quoted(key), value.type_name());
    metadata[key] = value.get<std::string>();
  }
  return metadata;
}

// The format wants every byte of the data part in exactly one tensor.
Status CheckCover(const std::map<std::string, TensorEntry>& tensors, uint64_t data_bytes) {
  using Named = std::pair<const std::string, TensorEntry>;
  std::vector<const Named*> order;
  for (const Named& tensor : tensors) order.push_back(&tensor);
  std::sort(order.begin(), order.end(), [](const Named* a, const Named* b) {
    return std::pair(a->second.begin, a->second.end) < std::pair(b->second.begin, b->second.end);
  });
  uint64_t end = 0;
  const Named* before = nullptr;
  for (const Named* tensor : order) {
    const uint64_t begin = tensor->second.begin;
    if (begin < end) {
      return DataLoss("tensor {} begins at byte {}, where {} overlaps it up to byte {}", Quoted(tensor->first), begin,
                      Quoted(before->first), end);
    }
    if (begin > end)
      return DataLoss("bytes {} to {} of the data part, before {}, belong to no tensor", end, begin,
                      Quoted(tensor->first));
    end = tensor->second.end;
    before = tensor;
  }
  if (end == data_bytes) return Status::Ok();
  return DataLoss("the tensors end at byte {}, the data part has {}", end, data_bytes);
}

// The JSON between the size and the data.
Result<std::string_view> HeaderText(ConstBytes file) {
  if (file.size() < kHeaderSizeBytes) {
    return DataLoss("expected at least {} bytes, the file has {}", kHeaderSizeBytes, file.size());
  }
  uint64_t size = 0;
  for (size_t i = 0; i < kHeaderSizeBytes; ++i) size |= std::to_integer<uint64_t>(file[i]) << (8 * i);
  if (size > kMaxHeaderBytes) return DataLoss("the header claims {} bytes, the limit is {}", size, kMaxHeaderBytes);
  const uint64_t rest = file.size() - kHeaderSizeBytes;
  if (size > rest) return DataLoss("the header claims {} bytes, the file has {} after its size", size, rest);
  return std::string_view(reinterpret_cast<const char*>(file.data()) + kHeaderSizeBytes, size);
}

}  // namespace

std::string_view FormatName(DType dtype) {
  for (const auto& [value, name] : kFormatNames) {
    if (value == dtype) return name;
  }
  return "?";
}

std::optional<DType> DTypeOfFormatName(std::string_view name) {
  for (const auto& [value, known] : kFormatNames) {
    if (known == name) return value;
  }
  return std::nullopt;
}

Result<SafetensorsHeader> ParseHeader(ConstBytes file) {
  NOSA_ASSIGN_OR_RETURN(const std::string_view text, HeaderText(file));
  if (!text.starts_with('{')) return DataLoss("the header does not begin with \"{{\"");
  const Result<Json> json = ParseJsonStrict(text, "the header");
  if (!json.ok()) return Status(StatusCode::kDataLoss, std::string(json.status().message()));
  SafetensorsHeader header;
  header.data_begin = kHeaderSizeBytes + text.size();
  const uint64_t data_bytes = file.size() - header.data_begin;
  for (const auto& [name, info] : json->items()) {
    if (name == kMetadataKey) {
      NOSA_ASSIGN_OR_RETURN(header.metadata, ReadMetadata(info));
    } else {
      NOSA_ASSIGN_OR_RETURN(header.tensors[name], ReadEntry(name, info, data_bytes));
    }
  }
  NOSA_RETURN_IF_ERROR(CheckCover(header.tensors, data_bytes));
  return header;
}

}  // namespace internal

Result<std::map<std::string, TensorEntry>> ParseSafetensorsHeader(ConstBytes file, uint64_t* data_begin) {
  NOSA_ASSIGN_OR_RETURN(internal::SafetensorsHeader header, internal::ParseHeader(file));
  *data_begin = header.data_begin;
  return std::move(header.tensors);
}

}  // namespace nosa::io
