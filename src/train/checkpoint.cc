#include "train/checkpoint.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "base/bytes.h"
#include "io/file.h"
#include "schema/random_checkpoint.h"
#include "train/compute.h"

namespace nosa::train {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kStateDirectory = "training-state";

Status MakeDirectory(const fs::path& directory) {
  std::error_code error;
  fs::create_directories(directory, error);
  return error ? IoError("cannot make the directory {}: {}", directory.string(), error.message()) : Status::Ok();
}

// Tensors in host memory, held until the writer has written them.
class HostTensors {
 public:
  void Add(io::SafetensorsWriter* writer, const std::string& name, const at::Tensor& tensor, at::ScalarType type) {
    held_.push_back(tensor.detach().to(at::kCPU).to(type).contiguous());
    writer->Add(name, ViewOf(held_.back()));
  }

 private:
  std::vector<at::Tensor> held_;
};

// The three pieces of a state and how their tensors are named.
std::vector<std::pair<std::string, at::Tensor>> StateParts(const Parameters& parameters, const AdamW& optimizer) {
  return {
      {"master/", parameters.master()}, {"first/", optimizer.first_moment()}, {"second/", optimizer.second_moment()}};
}

// The step that the name of a state says; -1 when it is none.
int64_t StepOf(const fs::path& file) {
  const std::string name = file.filename().string();
  constexpr std::string_view kBegin = "step-", kEnd = ".safetensors";
  if (!name.starts_with(kBegin) || !name.ends_with(kEnd)) return -1;
  int64_t step = -1;
  const char* end = name.data() + name.size() - kEnd.size();
  const auto [stop, error] = std::from_chars(name.data() + kBegin.size(), end, step);
  return error == std::errc() && stop == end ? step : -1;
}

std::vector<fs::path> FilesOf(const fs::path& directory) {
  std::vector<fs::path> files;
  std::error_code error;
  for (fs::directory_iterator at(directory, error), end; !error && at != end; at.increment(error))
    files.push_back(at->path());
  return files;
}

}  // namespace

Status SaveModel(const Parameters& parameters, const io::Json& other, DType dtype, const fs::path& directory) {
  NOSA_RETURN_IF_ERROR(MakeDirectory(directory));
  schema::ModelConfig config = parameters.config();
  config.dtype = dtype;
  io::Json json = other.is_object() ? other : io::Json::object();
  json.update(schema::ConfigToJson(config));
  const std::string text = json.dump(1) + "\n";
  NOSA_RETURN_IF_ERROR(
      io::WriteFileAtomically(directory / "config.json", AsBytes(std::span(text.data(), text.size()))));
  io::SafetensorsWriter writer;
  HostTensors tensors;
  for (const auto& [name, value] : parameters.NamedIn(parameters.master()))
    tensors.Add(&writer, name, value, TorchType(dtype));
  writer.AddMetadata("format", "pt");
  return writer.Write(directory / "model.safetensors");
}

Status SaveState(const Parameters& parameters, const AdamW& optimizer, const RunState& state,
                 const fs::path& directory) {
  const fs::path folder = directory / kStateDirectory;
  NOSA_RETURN_IF_ERROR(MakeDirectory(folder));
  io::SafetensorsWriter writer;
  HostTensors tensors;
  for (const auto& [prefix, flat] : StateParts(parameters, optimizer)) {
    for (const auto& [name, value] : parameters.NamedIn(flat)) tensors.Add(&writer, prefix + name, value, at::kFloat);
  }
  writer.AddMetadata("step", std::to_string(state.step));
  writer.AddMetadata("log_bytes", std::to_string(state.log_bytes));
  writer.AddMetadata("decisive", io::DumpJson(state.decisive));
  const fs::path file = folder / fmt::format("step-{:09}.safetensors", state.step);
  NOSA_RETURN_IF_ERROR(writer.Write(file));
  for (const fs::path& other : FilesOf(folder)) {
    std::error_code ignored;  // what cannot be removed takes room, and nothing else
    if (StepOf(other) >= 0 && other != file) fs::remove(other, ignored);
  }
  return Status::Ok();
}

std::optional<fs::path> FindState(const fs::path& directory) {
  std::optional<fs::path> newest;
  for (const fs::path& file : FilesOf(directory / kStateDirectory)) {
    if (StepOf(file) >= 0 && (!newest || StepOf(file) > StepOf(*newest))) newest = file;
  }
  return newest;
}

Result<RunState> LoadState(const fs::path& file, Parameters* parameters, AdamW* optimizer) {
  NOSA_ASSIGN_OR_RETURN(const auto saved, io::Safetensors::OpenFile(file));
  const at::NoGradGuard no_grad;
  for (const auto& [prefix, flat] : StateParts(*parameters, *optimizer)) {
    for (const auto& [name, value] : parameters->NamedIn(flat)) {
      NOSA_ASSIGN_OR_RETURN(const ConstTensorView tensor, saved->Get(prefix + name));
      const Shape expected(std::span<const int64_t>(value.sizes().data(), static_cast<size_t>(value.dim())));
      if (tensor.shape() != expected || tensor.dtype() != DType::kF32) {
        return InvalidArgument("expected {}{} {} in f32, found {} in {} in {}", prefix, name, expected.ToString(),
                               tensor.shape().ToString(), DTypeName(tensor.dtype()), file.string());
      }
      value.copy_(at::from_blob(const_cast<std::byte*>(tensor.bytes()), value.sizes(), at::kFloat));
    }
  }
  const auto text = [&](const std::string& key) {
    const auto found = saved->metadata().find(key);
    return found == saved->metadata().end() ? std::string() : found->second;
  };
  const auto number = [&](const std::string& key, auto* value) {
    const std::string digits = text(key);
    return std::from_chars(digits.data(), digits.data() + digits.size(), *value).ec == std::errc();
  };
  RunState state;
  if (!number("step", &state.step) || !number("log_bytes", &state.log_bytes))
    return DataLoss("{} does not say its step", file.string());
  NOSA_ASSIGN_OR_RETURN(state.decisive, io::ParseOrderedJson(text("decisive"), file.string()));
  optimizer->set_steps(state.step);
  return state;
}

void RemoveLeftovers(const fs::path& directory) {
  for (const fs::path& folder : {directory, directory / kStateDirectory}) {
    for (const fs::path& file : FilesOf(folder)) {
      std::error_code ignored;
      if (file.filename().string().find(".tmp-") != std::string::npos) fs::remove(file, ignored);
    }
  }
}

}  // namespace nosa::train
