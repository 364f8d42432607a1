#include "apps/session.h"

#include <algorithm>
#include <filesystem>

#include "apps/machine.h"
#include "apps/memory_estimate.h"
#include "apps/progress.h"
#include "apps/tier_rule.h"
#include "backend/cpu/cpu_backend.h"
#if NOSA_HAS_CUDA
#include "backend/cuda/cuda_backend.h"
#endif
#include "base/bytes.h"
#include "base/clock.h"
#include "base/log.h"
#include "ops/reference/reference_backend.h"

namespace nosa::apps {
namespace {

constexpr std::string_view kDiskTier = "disk";  // of kv/tiers/tiers.def

// A bar while memory is pinned.
kv::PinningProgress ShowPinning() {
  auto bar = std::make_shared<std::unique_ptr<Progress>>();
  return [bar](uint64_t done, uint64_t total) {
    if (done == 0) {
      *bar = std::make_unique<Progress>(
          ProgressOptions{.what = "pinning memory for KV", .unit = "MiB", .total = static_cast<int64_t>(total / kMiB)});
    }
    if (*bar != nullptr) (*bar)->Update(static_cast<int64_t>(done / kMiB));
    if (done == total) bar->reset();
  };
}

Result<std::unique_ptr<engine::Engine>> Create(const Session& session, uint64_t budget,
                                               const std::optional<DiskPlace>& disk,
                                               const engine::DecodeOptions& decode = {},
                                               PrefixSharing prefixes = PrefixSharing::kNone,
                                               uint64_t prefix_bytes = 0) {
  engine::EngineOptions options = BaseEngineOptions(session);
  options.decode = decode;
  options.prefix_cache = prefixes != PrefixSharing::kNone;
  options.share_prefixes_across_tenants = prefixes == PrefixSharing::kAcrossTenants;
  options.prefix_bytes = prefix_bytes;
  if (!session.flags.quiet && !session.flags.json) options.pinning = ShowPinning();
  options.host_budget_bytes = budget;
  if (disk) {
    kv::TierOptions tier = {
        .location = disk->directory, .capacity_bytes = disk->capacity_bytes, .direct_io = session.flags.kv_direct};
    tier.io.backend = ParseIoBackend(session.flags.kv_io);
    NOSA_ASSIGN_OR_RETURN(options.cold, kv::MakeTier(kDiskTier, tier));
  }
  return engine::Engine::Create(session.model, session.tokenizer, std::move(options), session.backend.get());
}

// A device shares what it reads of the weights among so many; more gain little, and each takes slots.
constexpr int kMostSeats = 64;

// With a disk the engine plans on the host, and says so if it matters.
engine::DecodeOptions HostPlans(const Session& session) {
  engine::DecodeOptions decode;
  decode.kv_bytes = session.flags.kv_device;
  return decode;
}

// Seats for as many as fit, at least one: whether that fits is the engine's to say.
engine::DecodeOptions DecodeFor(const Session& session, std::span<const int> sequences) {
  engine::DecodeOptions decode;
  const CommonFlags& flags = session.flags;
  if (!DecodesBySteps(session) || sequences.empty()) return decode;
  decode.plan = engine::DecodePlan::kStep;
  decode.seats = static_cast<int>(std::min<size_t>(sequences.size(), kMostSeats));
  decode.max_tokens = *std::max_element(sequences.begin(), sequences.end());
  decode.kv_bytes = flags.kv_device;
  decode.reserve_bytes = EstimateDeviceMemory(session, sequences);
  const int fit =
      engine::MostSeats(*session.model, decode, BaseEngineOptions(session).attention.selector, *session.backend);
  const int wanted = decode.seats;
  decode.seats = std::clamp(fit, 1, wanted);
  if (fit > 0 && fit < wanted)
    LogInfo("{} of {} sequences are answered at a time: GPU memory has room for them", fit, sequences.size());
  return decode;
}

std::vector<kv::SequenceNeeds> NeedsOf(const Session& session, std::span<const int> sequences) {
  std::vector<kv::SequenceNeeds> needs;
  for (const int tokens : sequences) needs.push_back(session.model->SequenceNeeds(tokens));
  return needs;
}

Result<std::string> TemporaryDirectory() {
  std::error_code error;
  const std::filesystem::path path = std::filesystem::temp_directory_path(error);
  if (error) return IoError("the system has no temporary directory ({}); --kv-disk DIR names one", error.message());
  return path.string();
}

void LoadTokenizer(Session* session) {
  if (session->flags.model.starts_with("random:")) {
    session->tokenizer_error =
        FailedPrecondition("random weights have no tokenizer; --ids gives a prompt as token ids");
    return;
  }
  const std::filesystem::path file = std::filesystem::path(session->flags.model) / "tokenizer.json";
  std::error_code error;
  if (!std::filesystem::exists(file, error)) {
    session->tokenizer_error =
        NotFound("{} has no tokenizer.json; --ids gives a prompt as token ids", session->flags.model);
    return;
  }
  Result<std::shared_ptr<const text::Tokenizer>> tokenizer = text::Tokenizer::FromFile(file);
  if (tokenizer.ok()) {
    session->tokenizer = *std::move(tokenizer);
  } else {
    session->tokenizer_error = tokenizer.status();
  }
}

}  // namespace

io::AsyncBackend ParseIoBackend(const std::string& name) {
  if (name == "uring") return io::AsyncBackend::kUring;
  return name == "threads" ? io::AsyncBackend::kThreads : io::AsyncBackend::kAuto;
}

std::string ExactSize(uint64_t bytes) {
  return bytes < kKiB ? FormatByteSize(bytes) : fmt::format("{} ({} bytes)", FormatByteSize(bytes), bytes);
}

Result<std::unique_ptr<ops::Backend>> MakeBackend(const CommonFlags& flags) {
  if (flags.backend == "reference") return ops::reference::MakeReferenceBackend();
#if NOSA_HAS_CUDA
  if (flags.backend == "cuda" || flags.backend == "auto") {
    auto device = cuda::MakeCudaBackend({.memory_limit_bytes = flags.gpu_memory.value_or(0)});
    if (device.ok()) return device;
    if (flags.backend == "cuda") return device.status().WithContext("--backend cuda");
  }
#endif
  return cpu::MakeCpuBackend(flags.threads);
}

Result<std::unique_ptr<Session>> OpenSession(const CommonFlags& flags) {
  const Stopwatch watch;
  if (flags.quiet) SetLogLevel(LogLevel::kWarn);
  auto session = std::make_unique<Session>();
  session->flags = flags;
  model::LoadOptions options;
  options.sparse = {flags.topk, flags.query_topk};
  if (flags.dtype != "auto") {
    NOSA_ASSIGN_OR_RETURN(options.dtype, ParseDType(flags.dtype));
  }
  NOSA_ASSIGN_OR_RETURN(session->backend, MakeBackend(flags));
  options.backend = session->backend.get();
  NOSA_ASSIGN_OR_RETURN(session->model, model::Model::Open(flags.model, options));
  LoadTokenizer(session.get());
  session->load_seconds = watch.Seconds();
  return session;
}

bool DecodesBySteps(const Session& session) {
  if (!session.backend) return false;
  return session.flags.decode == "step" || (session.flags.decode == "auto" && session.backend->records_graphs());
}

int PrefillChunk(const Session& session) {
  // A device reads weights and cached blocks once for all rows of a chunk, and has multiprocessors for thousands.
  constexpr int kOnDevice = 2048;
  const bool device = session.backend && !HostAddressable(session.backend->compute_memory());
  return session.flags.prefill_chunk.value_or(device ? kOnDevice : engine::EngineOptions().prefill_chunk);
}

engine::EngineOptions BaseEngineOptions(const Session& session) {
  const CommonFlags& flags = session.flags;
  engine::EngineOptions options;
  options.attention.selector = flags.attention == "auto" ? session.model->default_attention() : flags.attention;
  options.attention.dense_prefill = flags.prefill == "dense";
  options.kv_policy = flags.kv_policy;
  options.kv_codec = flags.kv_codec;
  options.prefill_chunk = PrefillChunk(session);
  return options;
}

int SequenceTokens(const Session& session, size_t prompt_tokens, int max_tokens) {
  const uint64_t tokens = prompt_tokens + static_cast<uint64_t>(max_tokens);
  return static_cast<int>(std::min(tokens, static_cast<uint64_t>(session.model->config().max_position)));
}

Status CheckContext(const Session& session, int64_t tokens) {
  const int64_t positions = session.model->config().max_position;
  if (tokens <= positions) return Status::Ok();
  return InvalidArgument("--context asks for {} tokens, the model reads at most {}", tokens, positions);
}

Result<KvNeeds> PredictKv(const Session& session, std::span<const int> sequences,
                          const std::optional<DiskPlace>& disk) {
  const std::vector<kv::SequenceNeeds> needs = NeedsOf(session, sequences);
  KvNeeds predicted;
  {
    NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Engine> engine, Create(session, kv::kNoLimit, std::nullopt));
    predicted.all_in_ram_bytes = predicted.smallest_bytes = engine->store().SmallestBudget(needs);
  }
  if (disk) {
    NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Engine> engine, Create(session, kv::kNoLimit, disk));
    const kv::KvStore& store = engine->store();
    predicted.smallest_bytes = store.SmallestBudget(needs);
    for (const int tokens : sequences) {
      const auto blocks =
          static_cast<uint64_t>(store.layout().Blocks(tokens)) * static_cast<uint64_t>(store.layout().lanes());
      predicted.disk_bytes += blocks * store.block_record_bytes();
    }
  }
  return predicted;
}

uint64_t FreeRamForKv(const Session& session, std::span<const int> sequences) {
  const uint64_t available = AvailableRamBytes();
  // A sixteenth stays free, so that the system need not write out what others use.
  const uint64_t others = available / 16 + EstimateMemory(session, sequences).total();
  return available - std::min(available, others);
}

Result<std::unique_ptr<engine::Engine>> MakeEngine(const Session& session, std::span<const int> sequences, Use use,
                                                   PrefixSharing prefixes) {
  NOSA_ASSIGN_OR_RETURN(const KvNeeds in_ram, PredictKv(session, sequences, std::nullopt));
  TierInputs inputs = {.host_budget_bytes = session.flags.kv_host,
                       .disk = session.flags.kv_disk,
                       .free_ram_bytes = FreeRamForKv(session, sequences),
                       .all_in_ram_bytes = in_ram.all_in_ram_bytes};
  if (!inputs.disk) {
    NOSA_ASSIGN_OR_RETURN(inputs.temporary_directory, TemporaryDirectory());
  }
  const TierChoice choice = ChooseTiers(inputs);
  if (choice.disk) {
    NOSA_ASSIGN_OR_RETURN(const KvNeeds with_disk, PredictKv(session, sequences, choice.disk));
    if (with_disk.smallest_bytes > choice.host_budget_bytes) {
      // A short prompt may take less than what reading a disk needs; that is no help to who asked for the disk.
      const uint64_t smallest = session.flags.kv_disk ? with_disk.smallest_bytes
                                                      : std::min(with_disk.smallest_bytes, in_ram.all_in_ram_bytes);
      return ResourceExhausted("expected at least {} of RAM for KV, found {} {}", ExactSize(smallest),
                               ExactSize(choice.host_budget_bytes), session.flags.kv_host ? "in --kv-host" : "free");
    }
  }
  // Where nothing else bounds them, kept prefixes take no more than what the sequences leave of the free RAM.
  uint64_t prefix_bytes = kv::kNoLimit;
  if (choice.host_budget_bytes == kv::kNoLimit) {
    prefix_bytes = inputs.free_ram_bytes - std::min(inputs.free_ram_bytes, in_ram.all_in_ram_bytes);
  }
  engine::DecodeOptions decode;
  if (use == Use::kAnswer) decode = choice.disk ? HostPlans(session) : DecodeFor(session, sequences);
  NOSA_ASSIGN_OR_RETURN(std::unique_ptr<engine::Engine> engine,
                        Create(session, choice.host_budget_bytes, choice.disk, decode, prefixes, prefix_bytes));
  NOSA_RETURN_IF_ERROR(engine->store().Prepare(NeedsOf(session, sequences)));
  if (choice.spills) {
    LogInfo("KV takes {} and RAM for it is {}: {}", FormatByteSize(in_ram.all_in_ram_bytes),
            FormatByteSize(choice.host_budget_bytes), engine->store().DescribeTiers());
  }
  return engine;
}

}  // namespace nosa::apps
