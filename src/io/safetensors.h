// The safetensors format (huggingface/safetensors, README "Format"): 8 bytes little-endian header size,
// a JSON header {name: {dtype, shape, data_offsets}}, then the data. Read by mapping, never by copying.
#pragma once

#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "io/file.h"
#include "tensor/view.h"

namespace nosa::io {

// Where one tensor lies in a file's data part.
struct TensorEntry {
  DType dtype = DType::kF32;
  std::vector<int64_t> shape;
  uint64_t begin = 0;  // bytes from the start of the data part
  uint64_t end = 0;
};

// The header alone. `file` is the whole file. Fails with kDataLoss, naming both sides, when: the file is
// shorter than 8 bytes, the header is longer than the file (or than 100 MB), it is not the JSON the format
// asks for, a dtype is unknown, offsets leave the data part, overlap, or do not match shape and dtype.
// Never reads outside `file`; never throws. `*data_begin` is the offset of the data part.
Result<std::map<std::string, TensorEntry>> ParseSafetensorsHeader(ConstBytes file, uint64_t* data_begin);

// The tensors of a checkpoint directory, mapped: `model.safetensors`, or the shards named by
// `model.safetensors.index.json`. Immutable; thread-safe; views live as long as the checkpoint.
class Safetensors {
 public:
  static Result<std::shared_ptr<const Safetensors>> OpenFile(const std::filesystem::path& file);
  static Result<std::shared_ptr<const Safetensors>> OpenDirectory(const std::filesystem::path& directory);

  bool Has(std::string_view name) const;
  // kNotFound names the file or directory and the nearest existing name.
  Result<ConstTensorView> Get(std::string_view name) const;
  std::vector<std::string> Names() const;  // sorted
  // The file a tensor came from, for messages.
  std::string FileOf(std::string_view name) const;
  // Free-form "__metadata__" strings of the first file.
  const std::map<std::string, std::string>& metadata() const;
  uint64_t data_bytes() const;

  Safetensors();
  ~Safetensors();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Collects tensors (borrowed until Write) and writes them atomically, data 64-byte aligned, names sorted.
class SafetensorsWriter {
 public:
  void Add(std::string name, ConstTensorView tensor);  // packed views only
  void AddMetadata(std::string key, std::string value);
  Status Write(const std::filesystem::path& path) const;

 private:
  std::map<std::string, ConstTensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace nosa::io
