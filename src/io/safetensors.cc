#include "io/safetensors.h"

#include <algorithm>
#include <set>
#include <utility>

#include "io/json_strict.h"
#include "io/nearest_name.h"
#include "io/safetensors_format.h"

namespace nosa::io {
namespace {

constexpr std::string_view kSingleFile = "model.safetensors";
constexpr std::string_view kIndexFile = "model.safetensors.index.json";

struct Shard {
  std::string name;  // of the file, without its directory
  MappedFile map;
  internal::SafetensorsHeader header;
};

Result<Shard> OpenShard(const std::filesystem::path& path) {
  Shard shard;
  shard.name = path.filename().string();
  NOSA_ASSIGN_OR_RETURN(shard.map, MappedFile::Open(path));
  Result<internal::SafetensorsHeader> header = internal::ParseHeader(shard.map.bytes());
  if (!header.ok()) return header.status().WithContext(path.string());
  shard.header = *std::move(header);
  return shard;
}

// A shard lies beside its index: an index from a stranger must not make us read other files.
bool IsPlainFileName(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

// Tensor name to shard name.
using WeightMap = std::map<std::string, std::string>;

Result<WeightMap> ReadIndex(const std::filesystem::path& path) {
  NOSA_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(path));
  NOSA_ASSIGN_OR_RETURN(const Json index, internal::ParseJsonStrict(text, path.string()));
  const auto map = index.is_object() ? index.find("weight_map") : index.end();
  if (!index.is_object() || map == index.end() || !map->is_object() || map->empty()) {
    return DataLoss("{}: expected an object weight_map that names at least one tensor", path.string());
  }
  WeightMap shards;
  for (const auto& [tensor, shard] : map->items()) {
    if (!shard.is_string()) {
      return DataLoss("{}: expected a file name for tensor \"{}\", found {}", path.string(), tensor, DumpJson(shard));
    }
    const auto& name = shard.get_ref<const std::string&>();
    if (!IsPlainFileName(name)) {
      return DataLoss("{}: expected a file name without directories for tensor \"{}\", found {}", path.string(), tensor,
                      DumpJson(shard));
    }
    shards[tensor] = name;
  }
  return shards;
}

}  // namespace

struct Safetensors::Impl {
  struct Place {
    const Shard* shard;
    const TensorEntry* entry;
  };

  std::string source;  // the file or directory, for messages
  std::map<std::string, Shard> shards;
  std::map<std::string, Place, std::less<>> tensors;
  std::map<std::string, std::string> metadata;
  uint64_t data_bytes = 0;

  Status AddShard(const std::filesystem::path& path, const std::string& name) {
    NOSA_ASSIGN_OR_RETURN(Shard shard, OpenShard(path));
    if (shards.empty()) metadata = shard.header.metadata;
    shards.emplace(name, std::move(shard));
    return Status::Ok();
  }

  void AddTensor(const std::string& name, const Shard& shard, const TensorEntry& entry) {
    tensors.emplace(name, Place{&shard, &entry});
    data_bytes += entry.end - entry.begin;
  }

  // Opens the shards that an index names and checks that they hold what it says.
  Status AddIndexed(const std::filesystem::path& directory, const WeightMap& weight_map) {
    std::set<std::string> names;
    for (const auto& [tensor, shard] : weight_map) names.insert(shard);
    for (const std::string& name : names) {
      Status status = AddShard(directory / name, name);
      if (!status.ok()) return status.WithContext(fmt::format("a shard of {}", kIndexFile));
    }
    for (const auto& [tensor, shard_name] : weight_map) {
      const Shard& shard = shards.at(shard_name);
      const auto found = shard.header.tensors.find(tensor);
      if (found == shard.header.tensors.end()) {
        return DataLoss("{} places tensor \"{}\" in {}, which does not hold it", (directory / kIndexFile).string(),
                        tensor, shard_name);
      }
      AddTensor(tensor, shard, found->second);
    }
    return Status::Ok();
  }
};

Safetensors::Safetensors() : impl_(std::make_unique<Impl>()) {}
Safetensors::~Safetensors() = default;

Result<std::shared_ptr<const Safetensors>> Safetensors::OpenFile(const std::filesystem::path& file) {
  auto result = std::make_shared<Safetensors>();
  Impl& impl = *result->impl_;
  impl.source = file.string();
  const std::string name = file.filename().string();
  NOSA_RETURN_IF_ERROR(impl.AddShard(file, name));
  const Shard& shard = impl.shards.at(name);
  for (const auto& [tensor, entry] : shard.header.tensors) impl.AddTensor(tensor, shard, entry);
  return std::shared_ptr<const Safetensors>(std::move(result));
}

Result<std::shared_ptr<const Safetensors>> Safetensors::OpenDirectory(const std::filesystem::path& directory) {
  std::error_code ignored;  // unreadable counts as absent; opening it says why
  if (std::filesystem::exists(directory / kSingleFile, ignored)) return OpenFile(directory / kSingleFile);
  if (!std::filesystem::is_directory(directory, ignored)) return NotFound("{} is not a directory", directory.string());
  const std::filesystem::path index = directory / kIndexFile;
  if (!std::filesystem::exists(index, ignored)) {
    return NotFound("expected {} or {} in {}, found neither", kSingleFile, kIndexFile, directory.string());
  }
  NOSA_ASSIGN_OR_RETURN(const WeightMap weight_map, ReadIndex(index));
  auto result = std::make_shared<Safetensors>();
  result->impl_->source = directory.string();
  NOSA_RETURN_IF_ERROR(result->impl_->AddIndexed(directory, weight_map));
  return std::shared_ptr<const Safetensors>(std::move(result));
}

bool Safetensors::Has(std::string_view name) const { return impl_->tensors.find(name) != impl_->tensors.end(); }

Result<ConstTensorView> Safetensors::Get(std::string_view name) const {
  const auto found = impl_->tensors.find(name);
  if (found == impl_->tensors.end()) {
    const std::string nearest = internal::NearestName(name, Names());
    if (nearest.empty()) return NotFound("no tensor \"{}\" in {}, which holds none", name, impl_->source);
    return NotFound("no tensor \"{}\" in {}; the nearest name is \"{}\"", name, impl_->source, nearest);
  }
  const auto& [shard, entry] = found->second;
  if (entry->shape.size() > Shape::kMaxRank) {
    return Unimplemented("tensor \"{}\" in {} has {} dimensions, at most {} can be read", name, shard->name,
                         entry->shape.size(), Shape::kMaxRank);
  }
  // Views are read through pointers to their elements, which must be aligned; the map begins on a page.
  const uint64_t offset = shard->header.data_begin + entry->begin;
  if (offset % DTypeBytes(entry->dtype) != 0) {
    return Unimplemented(
        "tensor \"{}\" begins at byte {} of {}, expected a multiple of {} for {}: write the file again "
        "with a current version of its tool",
        name, offset, shard->name, DTypeBytes(entry->dtype), internal::FormatName(entry->dtype));
  }
  // A Shape without dimensions has no elements, a tensor without dimensions has one.
  const Shape shape = entry->shape.empty() ? Shape({1}) : Shape(std::span<const int64_t>(entry->shape));
  return ConstTensorView(shard->map.bytes().data() + offset, entry->dtype, shape);
}

std::vector<std::string> Safetensors::Names() const {
  std::vector<std::string> names;
  for (const auto& [name, place] : impl_->tensors) names.push_back(name);
  return names;
}

std::string Safetensors::FileOf(std::string_view name) const {
  const auto found = impl_->tensors.find(name);
  return found == impl_->tensors.end() ? "" : found->second.shard->name;
}

const std::map<std::string, std::string>& Safetensors::metadata() const { return impl_->metadata; }

uint64_t Safetensors::data_bytes() const { return impl_->data_bytes; }

}  // namespace nosa::io
