// nosa inspect: what a model directory holds, what it needs in every tier, what this machine has.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "apps/command.h"
#include "apps/machine.h"
#include "apps/memory_estimate.h"
#include "apps/report.h"
#include "apps/session.h"
#include "apps/table.h"
#include "base/bytes.h"
#include "base/parallel.h"
#include "io/async_io.h"
#include "io/file.h"
#include "schema/tensors.h"

namespace nosa::apps {
namespace {

using Json = io::OrderedJson;

struct InspectFlags {
  CommonFlags common;
  std::optional<int> context;
  int sequences = 1;
};

int64_t Parameters(const schema::ModelConfig& config) {
  int64_t count = 0;
  for (const schema::TensorSpec& spec : schema::ExpectedTensors(config)) {
    if (!spec.optional || config.has_importance) count += spec.shape.elements();
  }
  return count;
}

Json ModelJson(const Session& session) {
  const schema::ModelConfig& c = session.model->config();
  Json json;
  json["name"] = session.flags.model;
  json["family"] = c.family;
  json["architecture"] = c.architecture;
  json["parameters"] = Parameters(c);
  json["checkpoint_dtype"] = std::string(DTypeName(c.dtype));
  json["dtype"] = std::string(DTypeName(session.model->dtype()));
  json["layers"] = c.num_layers;
  json["hidden"] = c.hidden_size;
  json["heads"] = c.num_heads;
  json["kv_heads"] = c.num_kv_heads;
  json["head_dim"] = c.head_dim;
  json["intermediate"] = c.intermediate_size;
  json["vocab"] = c.vocab_size;
  json["positions"] = c.max_position;
  json["tied_embeddings"] = c.tie_embeddings;
  json["importance_weights"] = c.has_importance;
  json["attention"] = BaseEngineOptions(session).attention.selector;
  const schema::SparseConfig& s = c.sparse;
  json["sparse"] = {{"given", c.sparse_config_given}, {"block_size", s.block_size},
                    {"kernel_size", s.kernel_size},   {"kernel_stride", s.kernel_stride},
                    {"init_blocks", s.init_blocks},   {"local_blocks", s.local_blocks()},
                    {"query_topk", s.query_topk},     {"topk", s.topk}};
  if (session.tokenizer) {
    json["tokenizer"] = {{"vocab", session.tokenizer->vocab_size()}};
  } else {
    json["tokenizer"] = nullptr;
    json["tokenizer_error"] = std::string(session.tokenizer_error.message());
  }
  return json;
}

// Where blocks would go: --kv-disk, else the temporary directory.
DiskPlace Place(const CommonFlags& flags) {
  std::error_code error;
  return flags.kv_disk.value_or(DiskPlace{std::filesystem::temp_directory_path(error).string()});
}

Result<Json> NeedsJson(const Session& session, int context, int sequences) {
  const std::vector<int> tokens(static_cast<size_t>(sequences), context);
  const kv::BlockLayout layout = session.model->block_layout();
  const uint64_t page = layout.BlockBytes() * static_cast<uint64_t>(layout.lanes());
  const auto blocks = static_cast<uint64_t>(layout.Blocks(context));
  const auto n = static_cast<uint64_t>(sequences);
  const bool reads_all = BaseEngineOptions(session).attention.selector == "full";
  const uint64_t read =
      reads_all ? blocks : std::min(blocks, static_cast<uint64_t>(session.model->attention_config().topk));
  NOSA_ASSIGN_OR_RETURN(const KvNeeds kv, PredictKv(session, tokens, Place(session.flags)));
  Json json;
  json["context"] = context;
  json["sequences"] = sequences;
  json["kv"] = {{"bytes_per_token", page / static_cast<uint64_t>(layout.block_size)},
                {"total_bytes", n * blocks * page},
                {"working_set_bytes", n * read * page},
                {"summary_bytes", n * session.model->SequenceNeeds(context).side_bytes},
                {"smallest_host_bytes", std::min(kv.smallest_bytes, kv.all_in_ram_bytes)},
                {"sufficient_host_bytes", kv.all_in_ram_bytes},
                {"disk_bytes", kv.disk_bytes}};
  const MemoryEstimate m = EstimateMemory(session, tokens);
  json["process"] = {{"weights_mapped_bytes", m.weights_mapped},
                     {"weights_copied_bytes", m.weights_copied},
                     {"tokenizer_bytes", m.tokenizer},
                     {"activation_bytes", m.activations},
                     {"logits_bytes", m.logits},
                     {"attention_bytes", m.attention},
                     {"scratch_bytes", m.scratch},
                     {"bookkeeping_bytes", m.bookkeeping},
                     {"program_bytes", m.program},
                     {"total_bytes", m.total()}};
  return json;
}

Json MachineJson(const CommonFlags& flags, ops::Backend& backend) {
  Json json;
  json["processors"] = AvailableProcessors();
  json["backend"] = std::string(backend.name());
  json["compute"] = backend.Describe();
  json["ram_bytes"] = TotalRamBytes();
  json["ram_available_bytes"] = AvailableRamBytes();
  io::AsyncIoOptions options;
  options.backend = ParseIoBackend(flags.kv_io);
  const Result<std::unique_ptr<io::AsyncIo>> io = io::MakeAsyncIo(options);
  json["io"] = io.ok() ? (*io)->Describe() : std::string(io.status().message());
  const std::string directory = Place(flags).directory;
  json["disk_directory"] = directory;
  const Result<uint64_t> free = io::FreeDiskBytes(directory);
  json["disk_free_bytes"] = free.ok() ? Json(*free) : Json(nullptr);
  return json;
}

std::string Size(const Json& bytes) { return bytes.is_null() ? "unknown" : FormatByteSize(bytes.get<uint64_t>()); }

std::string ModelText(const Json& m) {
  const Json& s = m["sparse"];
  std::vector<std::pair<std::string, std::string>> facts = {
      {"model", m["name"].get<std::string>()},
      {"architecture",
       fmt::format("{} ({} family)", m["architecture"].get<std::string>(), m["family"].get<std::string>())},
      {"parameters", fmt::format("{:.1f} M, {} in the checkpoint, computed in {}", m["parameters"].get<double>() / 1e6,
                                 m["checkpoint_dtype"].get<std::string>(), m["dtype"].get<std::string>())},
      {"shape", fmt::format("{} layers, hidden {}, {} heads, {} KV heads, head size {}, MLP {}, vocabulary {}{}",
                            m["layers"].get<int>(), m["hidden"].get<int>(), m["heads"].get<int>(),
                            m["kv_heads"].get<int>(), m["head_dim"].get<int>(), m["intermediate"].get<int>(),
                            m["vocab"].get<int>(), m["tied_embeddings"].get<bool>() ? ", embeddings tied" : "")},
      {"positions", fmt::format("{} tokens", m["positions"].get<int64_t>())},
      {"sparse",
       fmt::format("blocks of {}, windows {}/{}, {} first + {} local + {} by query, {} in all{}",
                   s["block_size"].get<int>(), s["kernel_size"].get<int>(), s["kernel_stride"].get<int>(),
                   s["init_blocks"].get<int>(), s["local_blocks"].get<int>(), s["query_topk"].get<int>(),
                   s["topk"].get<int>(), s["given"].get<bool>() ? "" : " (defaults: the checkpoint does not say)")},
      {"attention", fmt::format("{} ({} importance weights)", m["attention"].get<std::string>(),
                                m["importance_weights"].get<bool>() ? "has" : "no")},
      {"tokenizer", m["tokenizer"].is_null() ? m["tokenizer_error"].get<std::string>()
                                             : fmt::format("{} tokens", m["tokenizer"]["vocab"].get<int>())}};
  return FormatFacts(facts);
}

std::string NeedsText(const Json& n) {
  const Json &kv = n["kv"], &p = n["process"];
  Table table({fmt::format("{} x {} tokens", n["sequences"].get<int>(), n["context"].get<int>()), "bytes", ""});
  const auto row = [&](const char* what, const Json& bytes) {
    table.Row({what, std::to_string(bytes.get<uint64_t>()), Size(bytes)});
  };
  row("KV in all", kv["total_bytes"]);
  row("KV of one token", kv["bytes_per_token"]);
  row("KV a decode step reads", kv["working_set_bytes"]);
  row("block summaries (part of --kv-host)", kv["summary_bytes"]);
  row("smallest --kv-host", kv["smallest_host_bytes"]);
  row("--kv-host that keeps all in RAM", kv["sufficient_host_bytes"]);
  row("disk with less", kv["disk_bytes"]);
  row("weights, mapped", p["weights_mapped_bytes"]);
  row("weights, copied", p["weights_copied_bytes"]);
  const uint64_t weights = p["weights_mapped_bytes"].get<uint64_t>() + p["weights_copied_bytes"].get<uint64_t>();
  row("other memory, at most", p["total_bytes"].get<uint64_t>() - weights);
  row("process beside --kv-host, at most", p["total_bytes"]);
  return table.ToString();
}

std::string MachineText(const Json& m) {
  return FormatFacts({{"processors", fmt::format("{}; {}: {}", m["processors"].get<int>(),
                                                 m["backend"].get<std::string>(), m["compute"].get<std::string>())},
                      {"RAM", fmt::format("{}, {} available", Size(m["ram_bytes"]), Size(m["ram_available_bytes"]))},
                      {"disk", fmt::format("{}: {} free; {}", m["disk_directory"].get<std::string>(),
                                           Size(m["disk_free_bytes"]), m["io"].get<std::string>())}});
}

Status Inspect(const InspectFlags& flags) {
  Json json;
  if (!flags.common.model.empty()) {
    NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, OpenSession(flags.common));
    json["model"] = ModelJson(*session);
    const int64_t positions = session->model->config().max_position;
    const int context =
        flags.context.value_or(static_cast<int>(std::min<int64_t>(positions, std::numeric_limits<int>::max())));
    NOSA_RETURN_IF_ERROR(CheckContext(*session, context));
    NOSA_ASSIGN_OR_RETURN(json["needs"], NeedsJson(*session, context, flags.sequences));
    json["machine"] = MachineJson(flags.common, *session->backend);
  } else {
    NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<ops::Backend> backend, MakeBackend(flags.common));
    json["machine"] = MachineJson(flags.common, *backend);
  }
  if (flags.common.json) {
    PrintJson(json);
    return Status::Ok();
  }
  if (json.contains("model")) Print(ModelText(json["model"]) + "\n" + NeedsText(json["needs"]) + "\n");
  Print(MachineText(json["machine"]));
  return Status::Ok();
}

}  // namespace

void AddInspect(Command command) {
  auto flags = std::make_shared<InspectFlags>();
  command.Int("--context", &flags->context, 1, "tokens of a sequence (default: the model's positions)");
  command.Int("--sequences", &flags->sequences, 1, "sequences open at once");
  AddCommonFlags(command, &flags->common, {.model_required = false});
  command.Does([flags] { return Inspect(*flags); }, [flags] { return CheckCommonFlags(flags->common); });
}

}  // namespace nosa::apps
