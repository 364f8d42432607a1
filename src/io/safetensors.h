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
// asks for (a name twice included), a dtype is unknown, offsets leave the data part, overlap, leave bytes to no
// tensor, or do not match shape and dtype. Never reads outside `file`; never throws. `*data_begin` is the offset
// of the data part, set on success.
Result<std::map<std::string, TensorEntry>> ParseSafetensorsHeader(ConstBytes file, uint64_t* data_begin);

// The tensors of a checkpoint directory, mapped: `model.safetensors`, or the shards named by
// `model.safetensors.index.json`. Immutable; thread-safe; views live as long as the checkpoint.
class Safetensors {
 public:
  static Result<std::shared_ptr<const Safetensors>> OpenFile(const std::filesystem::path& file);
  static Result<std::shared_ptr<const Safetensors>> OpenDirectory(const std::filesystem::path& directory);

  bool Has(std::string_view name) const;
  // kNotFound names the file or directory and the nearest existing name; kUnimplemented for more than 4
  // dimensions or data that is not aligned to its elements. A tensor without dimensions is seen as [1].
  Result<ConstTensorView> Get(std::string_view name) const;
  std::vector<std::string> Names() const;  // sorted
  // The name, without directory, of the file a tensor came from, for messages; empty when there is no such tensor.
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

// Collects tensors (borrowed until Write) and writes them atomically. Names are sorted; the data part begins at a
// multiple of 64 bytes and holds the widest elements first, so that each tensor is aligned to its elements
// without the holes that the format forbids.
class SafetensorsWriter {
 public:
  void Add(std::string name, ConstTensorView tensor);  // packed, with at least one dimension; each name once
  void AddMetadata(std::string key, std::string value);
  Status Write(const std::filesystem::path& path) const;

 private:
  std::map<std::string, ConstTensorView> tensors_;
  std::map<std::string, std::string> metadata_;
};

}  // namespace nosa::io
