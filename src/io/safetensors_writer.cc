#include <algorithm>
#include <utility>
#include <vector>

#include "io/atomic_file.h"
#include "io/json.h"
#include "io/safetensors_format.h"

namespace nosa::io {
namespace {

// Of the data part: a cache line, and what vector loads like.
constexpr uint64_t kDataAlignment = 64;

using Named = std::pair<const std::string, ConstTensorView>;

uint64_t BytesOf(const ConstTensorView& tensor) {
  return static_cast<uint64_t>(tensor.shape().elements()) * DTypeBytes(tensor.dtype());
}

// Widest elements first: without holes, which the format forbids, this alone aligns every tensor to its element.
std::vector<const Named*> DataOrder(const std::map<std::string, ConstTensorView>& tensors) {
  std::vector<const Named*> order;
  for (const Named& tensor : tensors) order.push_back(&tensor);
  std::stable_sort(order.begin(), order.end(), [](const Named* a, const Named* b) {
    return DTypeBytes(a->second.dtype()) > DTypeBytes(b->second.dtype());
  });
  return order;
}

Json Entry(const ConstTensorView& tensor, uint64_t begin) {
  Json shape = Json::array();
  for (int i = 0; i < tensor.shape().rank(); ++i) shape.push_back(tensor.dim(i));
  return {{"dtype", std::string(internal::FormatName(tensor.dtype()))},
          {"shape", std::move(shape)},
          {"data_offsets", {begin, begin + BytesOf(tensor)}}};
}

// Size and JSON, padded with spaces up to the data part.
Result<std::string> EncodeHeader(const Json& header) {
  std::string json;
  try {
    json = header.dump();
  } catch (const Json::exception& error) {
    return InvalidArgument("a tensor name or a metadata string is not UTF-8: {}", error.what());
  }
  json.resize(RoundUp(internal::kHeaderSizeBytes + json.size(), kDataAlignment) - internal::kHeaderSizeBytes, ' ');
  if (json.size() > internal::kMaxHeaderBytes) {
    return InvalidArgument("the header would have {} bytes, the limit is {}", json.size(), internal::kMaxHeaderBytes);
  }
  std::string text;
  for (size_t i = 0; i < internal::kHeaderSizeBytes; ++i)
    text.push_back(static_cast<char>(json.size() >> (8 * i) & 0xff));
  return text + json;
}

}  // namespace

void SafetensorsWriter::Add(std::string name, ConstTensorView tensor) {
  NOSA_CHECK(tensor.packed() && tensor.shape().rank() > 0, "tensor {} {} is not packed", name,
             tensor.shape().ToString());
  NOSA_CHECK(name != internal::kMetadataKey, "{} is not a name for a tensor", name);
  const bool added = tensors_.emplace(name, tensor).second;
  NOSA_CHECK(added, "tensor {} added twice", name);
}

void SafetensorsWriter::AddMetadata(std::string key, std::string value) {
  metadata_[std::move(key)] = std::move(value);
}

Status SafetensorsWriter::Write(const std::filesystem::path& path) const {
  Json header = Json::object();
  if (!metadata_.empty()) header[std::string(internal::kMetadataKey)] = metadata_;
  const std::vector<const Named*> order = DataOrder(tensors_);
  uint64_t begin = 0;
  for (const Named* tensor : order) {
    header[tensor->first] = Entry(tensor->second, begin);
    begin += BytesOf(tensor->second);
  }
  Result<std::string> text = EncodeHeader(header);
  if (!text.ok()) return text.status().WithContext(path.string());
  NOSA_ASSIGN_OR_RETURN(internal::AtomicFile file, internal::AtomicFile::Create(path));
  NOSA_RETURN_IF_ERROR(file.Append(std::as_bytes(std::span<const char>(*text))));
  for (const Named* tensor : order) {
    NOSA_RETURN_IF_ERROR(file.Append({tensor->second.bytes(), BytesOf(tensor->second)}));
  }
  return file.Commit();
}

}  // namespace nosa::io
