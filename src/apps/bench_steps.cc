#include "apps/bench_steps.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <optional>

#include "apps/bench.h"
#include "apps/machine.h"
#include "apps/progress.h"
#include "apps/report.h"
#include "apps/selection_trace.h"
#include "apps/table.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/log.h"
#include "base/parallel.h"
#include "base/rng.h"
#include "model/step.h"
#include "ops/copy_blocks.h"

namespace nosa::apps {
namespace {

using model::StepSchedule;

struct Mode {
  std::string_view name;
  std::string_view selector;  // empty: the model's own
  StepSchedule schedule;
  bool offload;  // KV in host memory; else all of it on the device
  std::string_view help;
};

constexpr Mode kModes[] = {
    {"nosa", "", StepSchedule::kOverlap, true, "offloaded, transfers beside the attention"},
    {"inline", "", StepSchedule::kInLine, true, "offloaded, transfers before the attention, no slack"},
    {"infllm2", "infllm2", StepSchedule::kOverlap, true, "InfLLM-V2's selection, offloaded as nosa is"},
    {"resident", "", StepSchedule::kOverlap, false, "the same sparse attention, all KV on the device"},
    {"full", "full", StepSchedule::kOverlap, false, "attention over everything, all KV on the device"},
};

// Steps before the clock runs: the slots fill, the graph is recorded.
constexpr int kLargestTries = 6;  // to find a batch that fits, below the one predicted
constexpr int kWarmUp = 24;
// Steps between two looks at the clock.
constexpr int kChunk = 16;
constexpr int kTraceRows = 16;

struct Ceilings {
  double pcie = 0, memory = 0;  // bytes per second: blocks gathered from pinned memory; device memory, read and written
};

struct StepRow {
  const Mode* mode = nullptr;
  std::string attention, trace;
  int context = 0, batch = 0, slots = 0;
  double slack = 0, locality = 0;
  Spread step_ms;
  double hit_rate = 1, measured_locality = 0, missing_per_lane = 0;
  double pcie_bytes = 0, memory_bytes = 0;  // per step
  double roofline_ms = 0, dry_ms = 0, transfer_ms = 0;
  uint64_t device_bytes = 0, host_bytes = 0, fingerprint = 0;

  double tokens_per_s() const { return batch * 1e3 / step_ms.median; }
  // Of the time the transfers would take alone.
  std::optional<double> hidden() const {
    if (transfer_ms <= 0 || dry_ms <= 0) return std::nullopt;
    return std::clamp(1 - (step_ms.median - dry_ms) / transfer_ms, 0.0, 1.0);
  }
};

// Pages of the cache: frames in memory of one kind, filled with numbers.
class Pool {
 public:
  static constexpr size_t kChunkBytes = size_t{4} << 30;

  // `pattern`: random numbers, copied over and over at shifting places.
  static Result<Pool> Create(ops::Backend& backend, MemoryKind kind, uint64_t bytes, size_t frame_bytes,
                             const Buffer& pattern, const ProgressOptions& shown) {
    Pool pool;
    pool.frame_bytes_ = frame_bytes;
    pool.frames_per_chunk_ = kChunkBytes / frame_bytes;
    Progress progress(shown);
    for (uint64_t done = 0; done < bytes;) {
      const uint64_t frames = std::min<uint64_t>(pool.frames_per_chunk_, CeilDiv(bytes - done, frame_bytes));
      NOSA_ASSIGN_OR_RETURN(Buffer chunk, backend.Allocate(frames * frame_bytes, kind));
      pool.Fill(backend, chunk, pattern);
      done += frames * frame_bytes;
      pool.chunks_.push_back(std::move(chunk));
      progress.Update(static_cast<int64_t>(std::min(done, bytes)));
    }
    return pool;
  }

  std::byte* Frame(uint64_t i) const {
    return chunks_[i / frames_per_chunk_].data() + i % frames_per_chunk_ * frame_bytes_;
  }
  uint64_t bytes() const {
    uint64_t sum = 0;
    for (const Buffer& chunk : chunks_) sum += chunk.size();
    return sum;
  }

 private:
  void Fill(ops::Backend& backend, const Buffer& chunk, const Buffer& pattern) const {
    const size_t piece = pattern.size() / 2, pieces = CeilDiv(chunk.size(), piece);
    // The same bytes at the same place of every pool: what is computed from them can be compared.
    const size_t before = chunks_.size() * (frames_per_chunk_ * frame_bytes_ / piece);
    const auto shift = [&](size_t i) { return (before + i) * 4096 % piece; };
    if (chunk.kind() == MemoryKind::kDevice) {
      for (size_t i = 0; i < pieces; ++i) {
        backend.Copy(chunk.data() + i * piece, pattern.data() + shift(i), std::min(piece, chunk.size() - i * piece),
                     {});
      }
      backend.Synchronize({});
      return;
    }
    ThreadPool threads(AvailableProcessors());
    threads.ParallelFor(static_cast<int64_t>(pieces), 1, [&](int64_t begin, int64_t end, int) {
      for (size_t i = static_cast<size_t>(begin); i < static_cast<size_t>(end); ++i) {
        std::memcpy(chunk.data() + i * piece, pattern.data() + shift(i), std::min(piece, chunk.size() - i * piece));
      }
    });
  }

  std::vector<Buffer> chunks_;
  size_t frame_bytes_ = 1;
  uint64_t frames_per_chunk_ = 1;
};

// bf16 normal numbers; two of them also make a float of their size.
Result<Buffer> MakePattern(ops::Backend& backend) {
  constexpr size_t kBytes = size_t{64} << 20;
  NOSA_ASSIGN_OR_RETURN(Buffer pattern, backend.Allocate(kBytes, backend.shared_memory()));
  const Philox rng(20261121);
  ThreadPool threads(AvailableProcessors());
  threads.ParallelFor(kBytes / 2, 1 << 16, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      StoreFloat(pattern.data(), DType::kBF16, static_cast<size_t>(i), rng.Normal(static_cast<uint64_t>(i)));
    }
  });
  return pattern;
}

double SecondsOf(ops::Backend& backend, const std::function<void()>& work) {
  double best = 1e30;
  for (int i = 0; i < 5; ++i) {
    backend.Synchronize({});
    const Stopwatch watch;
    work();
    backend.Synchronize({});
    best = std::min(best, watch.Seconds());
  }
  return best;
}

Result<Ceilings> Measure(ops::Backend& backend, size_t frame_bytes, const Buffer& pattern) {
  constexpr size_t kBytes = size_t{1} << 30;
  Ceilings ceilings;
  NOSA_ASSIGN_OR_RETURN(const Buffer device, backend.Allocate(2 * kBytes, backend.compute_memory()));
  ceilings.memory =
      2.0 * kBytes / SecondsOf(backend, [&] { backend.Copy(device.data() + kBytes, device.data(), kBytes, {}); });
  const int frames = static_cast<int>(pattern.size() / frame_bytes), copies = 16384;
  NOSA_ASSIGN_OR_RETURN(const Buffer list,
                        backend.Allocate(copies * sizeof(ops::BlockCopy) + sizeof(int32_t), backend.shared_memory()));
  NOSA_ASSIGN_OR_RETURN(const Buffer plan, backend.Allocate(list.size(), backend.compute_memory()));
  for (int i = 0; i < copies; ++i) {
    list.as<ops::BlockCopy>()[i] = {pattern.data() + static_cast<size_t>(i * 7919LL % frames) * frame_bytes,
                                    device.data() + static_cast<size_t>(i) % (kBytes / frame_bytes) * frame_bytes};
  }
  int32_t count = copies;
  std::memcpy(list.data() + copies * sizeof(ops::BlockCopy), &count, sizeof(count));
  backend.Copy(plan.data(), list.data(), list.size(), {});
  const double seconds = SecondsOf(backend, [&] {
    ops::copy_blocks(backend, {},
                     {.copies = plan.as<ops::BlockCopy>(),
                      .count = reinterpret_cast<const int32_t*>(plan.data() + copies * sizeof(ops::BlockCopy)),
                      .most = copies,
                      .bytes = frame_bytes});
  });
  ceilings.pcie = static_cast<double>(copies) * static_cast<double>(frame_bytes) / seconds;
  return ceilings;
}

class StepBench {
 public:
  StepBench(const Session& session, const StepBenchFlags& flags)
      : session_(session), flags_(flags), backend_(*session.backend), model_(*session.model) {}

  Status Run();

 private:
  Result<StepRow> MeasureRow(const Mode& mode, int context, int batch, double slack);
  model::DecodeStepOptions Options(const Mode& mode, int context, int batch, double slack) const;
  uint64_t PageBytes(int context, int batch) const;
  int LargestBatch(const Mode& mode, int context, double slack) const;
  Status MakeTraceFor(const Mode& mode, int context, int batch);
  Status TakeTrace(int context, int batch);
  Status Take(model::DecodeStep& step, const Pool& pool, int context, int batch);
  Result<Spread> Time(model::DecodeStep& step, int steps);
  void Add(const StepRow& row);
  double Locality(const Mode& mode) const {
    if (mode.name == "infllm2" && flags_.infllm2_locality > 0) return flags_.infllm2_locality;
    return flags_.locality;
  }

  const Session& session_;
  const StepBenchFlags& flags_;
  ops::Backend& backend_;
  const model::Model& model_;
  Buffer pattern_, trace_memory_;
  ops::SelectionTrace trace_;
  std::optional<Pool> host_pool_;
  uint64_t host_bytes_ = 0;  // that the pool may take
  Ceilings ceilings_;
  io::OrderedJson json_;
  Table table_{{"mode", "context", "batch", "slack", "ms/step", "tok/s", "roofline", "of it", "hit rate", "locality",
                "PCIe GB/s", "HBM GB/s", "hidden", "on device", "on host"}};
};

model::DecodeStepOptions StepBench::Options(const Mode& mode, int context, int batch, double slack) const {
  model::DecodeStepOptions options;
  options.attention.selector = mode.selector.empty() ? BaseEngineOptions(session_).attention.selector : mode.selector;
  options.attention.schedule = mode.schedule;
  options.seats = batch;
  options.slots = mode.offload ? static_cast<int>(std::ceil(slack * model_.attention_config().topk)) : 0;
  options.max_tokens = context;
  return options;
}

uint64_t StepBench::PageBytes(int context, int batch) const {
  const kv::BlockLayout layout = model_.block_layout();
  return static_cast<uint64_t>(layout.Blocks(context)) * static_cast<uint64_t>(layout.lanes()) *
         static_cast<uint64_t>(batch) * kv::FrameOf(layout).bytes;
}

int StepBench::LargestBatch(const Mode& mode, int context, double slack) const {
  const auto fits = [&](int batch) {
    uint64_t device = model::DecodeStep::DeviceBytes(model_, Options(mode, context, batch, slack));
    if (!mode.offload) device += PageBytes(context, batch) + Pool::kChunkBytes / 64;
    const uint64_t trace = flags_.locality > 0 ? uint64_t{128} << 20 : 0;
    if (mode.offload && PageBytes(context, batch) > host_bytes_) return false;
    return device + trace <= backend_.Available(backend_.compute_memory());
  };
  int low = 0, high = 1;
  while (high <= 4096 && fits(high)) low = high, high *= 2;
  while (high - low > 1) {
    const int middle = (low + high) / 2;
    (fits(middle) ? low : high) = middle;
  }
  return low;
}

Status StepBench::MakeTraceFor(const Mode& mode, int context, int batch) {
  trace_ = {};
  trace_memory_ = {};
  const attention::AttentionConfig& config = model_.attention_config();
  const int forced = config.init_blocks + config.local_blocks + 1;
  if (!flags_.trace.empty() && mode.selector != "full") return TakeTrace(context, batch);
  if (Locality(mode) <= 0 || mode.selector == "full") return Status::Ok();
  const int first = context - flags_.tokens - kWarmUp - 2 * config.block_size;
  TraceShape shape;
  shape.rows = std::min(batch, kTraceRows);
  shape.steps = flags_.tokens + kWarmUp + kChunk + batch + 8;
  shape.lanes = model_.block_layout().lanes();
  shape.selected = config.topk;
  shape.width = config.topk - forced;
  shape.places = first / config.block_size - config.local_blocks - config.init_blocks;
  if (shape.width <= 0 || shape.places < 2 * shape.width) {
    return InvalidArgument("a context of {} has too few blocks for a made-up selection of {}", context, config.topk);
  }
  NOSA_ASSIGN_OR_RETURN(const TraceReuse reuse, ParseTraceReuse(flags_.reuse));
  const std::vector<uint16_t> picks = MakeTrace(shape, Locality(mode), reuse, 1);
  NOSA_ASSIGN_OR_RETURN(trace_memory_, backend_.Allocate(picks.size() * 2, backend_.compute_memory()));
  backend_.Copy(trace_memory_.data(), picks.data(), picks.size() * 2, {});
  backend_.Synchronize({});
  trace_ = {trace_memory_.as<uint16_t>(), shape.rows, shape.steps, shape.lanes, shape.width};
  return Status::Ok();
}

Status StepBench::TakeTrace(int context, int batch) {
  const attention::AttentionConfig& config = model_.attention_config();
  NOSA_ASSIGN_OR_RETURN(const RecordedTrace trace, ReadTrace(flags_.trace, config.init_blocks, config.local_blocks));
  const int forced = config.init_blocks + config.local_blocks + 1, steps = flags_.tokens + kWarmUp + kChunk + batch + 8;
  if (trace.steps < steps) {
    return InvalidArgument("{} steps are needed (a batch of {} starts one step apart), {} has {}", steps, batch,
                           flags_.trace, trace.steps);
  }
  if (trace.lanes != model_.block_layout().lanes() || trace.width > config.topk - forced) {
    return InvalidArgument("{} has {} layers and heads that pick up to {} blocks, the model {} with {}", flags_.trace,
                           trace.lanes, trace.width, model_.block_layout().lanes(), config.topk - forced);
  }
  if (context / config.block_size < trace.last_block) {
    return InvalidArgument("{} selects up to block {}, a context of {} ends before it", flags_.trace, trace.last_block,
                           context);
  }
  NOSA_ASSIGN_OR_RETURN(trace_memory_, backend_.Allocate(trace.picks.size() * 2, backend_.compute_memory()));
  backend_.Copy(trace_memory_.data(), trace.picks.data(), trace.picks.size() * 2, {});
  backend_.Synchronize({});
  trace_ = {trace_memory_.as<uint16_t>(), 1, trace.steps, trace.lanes, trace.width};
  return Status::Ok();
}

// Seats sequences whose ends lie apart, so that their blocks fill up at different steps.
Status StepBench::Take(model::DecodeStep& step, const Pool& pool, int context, int batch) {
  const kv::BlockLayout layout = model_.block_layout();
  const int blocks = layout.Blocks(context), lanes = layout.lanes();
  const int last = context - flags_.tokens - kWarmUp - kChunk - 1;
  if (last < 2 * layout.block_size)
    return InvalidArgument("a context of {} has no room for {} timed tokens", context, flags_.tokens);
  uint64_t frame = 0;
  for (int seat = 0; seat < batch; ++seat) {
    for (int block = 0; block < blocks; ++block) {
      for (int lane = 0; lane < lanes; ++lane) step.store().SetHome(seat, lane, BlockId(block), pool.Frame(frame++));
    }
    step.store().Seat(seat, last - seat * 7 % layout.block_size);
    step.tokens()[static_cast<size_t>(seat)] = seat % model_.config().vocab_size;
    const MutableBytes summaries = step.attention().summaries(seat);
    const size_t piece = pattern_.size() / 2;
    for (size_t at = 0; at < summaries.size(); at += piece) {
      backend_.Copy(summaries.data() + at, pattern_.data() + static_cast<size_t>(seat) * 4096 % piece,
                    std::min(piece, summaries.size() - at), {});
    }
  }
  step.store().Flush();
  return Status::Ok();
}

Result<Spread> StepBench::Time(model::DecodeStep& step, int steps) {
  std::vector<double> ms;
  for (int done = 0; done < steps; done += kChunk) {
    const int count = std::min(kChunk, steps - done);
    const Stopwatch watch;
    for (int i = 0; i < count; ++i) NOSA_RETURN_IF_ERROR(step.Run());
    step.Wait();
    ms.push_back(watch.Seconds() * 1e3 / count);
  }
  return SpreadOf(ms);
}

Result<StepRow> StepBench::MeasureRow(const Mode& mode, int context, int batch, double slack) {
  StepRow row;
  row.mode = &mode;
  row.context = context;
  row.batch = batch;
  row.slack = mode.offload ? slack : 0;
  row.locality = flags_.trace.empty() ? Locality(mode) : 0;
  NOSA_RETURN_IF_ERROR(MakeTraceFor(mode, context, batch));
  row.trace = trace_.picks == nullptr ? "own" : flags_.trace.empty() ? flags_.reuse : "recorded";
  model::DecodeStepOptions options = Options(mode, context, batch, slack);
  row.attention = options.attention.selector;
  row.slots = options.slots;
  if (trace_.picks != nullptr) {
    options.attention.trace = &trace_;
    options.attention.trace_stagger = 1;
  }
  const kv::BlockLayout layout = model_.block_layout();
  const double frame = static_cast<double>(kv::FrameOf(layout).bytes);
  std::optional<Pool> device_pool;
  if (!mode.offload) {
    NOSA_ASSIGN_OR_RETURN(device_pool,
                          Pool::Create(backend_, backend_.compute_memory(), PageBytes(context, batch),
                                       kv::FrameOf(layout).bytes, pattern_, {.what = "", .enabled = false}));
  }
  const Pool& pool = mode.offload ? *host_pool_ : *device_pool;
  const auto make = [&](StepSchedule schedule) -> Result<std::unique_ptr<model::DecodeStep>> {
    options.attention.schedule = schedule;
    NOSA_ASSIGN_OR_RETURN(std::unique_ptr<model::DecodeStep> step,
                          model::DecodeStep::Create(session_.model, options, &backend_));
    NOSA_RETURN_IF_ERROR(Take(*step, pool, context, batch));
    for (int i = 0; i < kWarmUp; ++i) NOSA_RETURN_IF_ERROR(step->Run());
    step->Wait();
    return step;
  };
  {
    const uint64_t before = backend_.Available(backend_.compute_memory());
    NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<model::DecodeStep> step, make(mode.schedule));
    const ops::SlotCounters first = step->attention().ReadCounters();
    NOSA_ASSIGN_OR_RETURN(row.step_ms, Time(*step, flags_.tokens));
    NOSA_RETURN_IF_ERROR(CheckMeasured(row.step_ms.median, "a decode step"));
    const ops::SlotCounters last = step->attention().ReadCounters();
    const double selected = static_cast<double>(last.selected - first.selected);
    const double missing = static_cast<double>(last.missing - first.missing);
    const double all = static_cast<double>(last.selected_all - first.selected_all);
    row.hit_rate = selected == 0 ? 1 : 1 - missing / selected;
    row.measured_locality = all == 0 ? 0 : static_cast<double>(last.repeated - first.repeated) / all;
    row.missing_per_lane = missing / flags_.tokens / batch / layout.lanes();
    row.pcie_bytes = missing / flags_.tokens * frame;
    row.device_bytes =
        before - backend_.Available(backend_.compute_memory()) + (device_pool ? device_pool->bytes() : 0);
    row.host_bytes = mode.offload ? PageBytes(context, batch) : 0;
    const ConstTensorView logits = step->ReadLogits();
    row.fingerprint = Hash64({logits.bytes(), static_cast<size_t>(logits.shape().elements()) * sizeof(float)});
    // What has to be read of device memory: weights, selected blocks, the summaries that are scored; and misses
    // written.
    const double windows = static_cast<double>(model_.attention_config().WindowsOf(context));
    const double width = std::min(step->attention().width(), layout.Blocks(context));
    double lane = width * frame;
    if (mode.selector != "full") {
      lane += windows * (layout.k_dim * static_cast<double>(DTypeBytes(layout.dtype)) + sizeof(float));
    }
    row.memory_bytes = static_cast<double>(WeightBytesPerStep(model_)) + batch * layout.lanes() * lane + row.pcie_bytes;
  }
  if (mode.offload) {
    NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<model::DecodeStep> dry, make(StepSchedule::kNever));
    NOSA_ASSIGN_OR_RETURN(const Spread spread, Time(*dry, std::min(flags_.tokens, 4 * kChunk)));
    row.dry_ms = spread.median;
    row.transfer_ms = row.pcie_bytes / ceilings_.pcie * 1e3;
  }
  row.roofline_ms = std::max(row.pcie_bytes / ceilings_.pcie, row.memory_bytes / ceilings_.memory) * 1e3;
  return row;
}

void StepBench::Add(const StepRow& row) {
  const double seconds = row.step_ms.median / 1e3, share = row.roofline_ms / row.step_ms.median;
  io::OrderedJson json = {
      {"mode", row.mode->name},
      {"attention", row.attention},
      {"context", row.context},
      {"batch", row.batch},
      {"slack", row.slack},
      {"slots", row.slots},
      {"locality", row.locality},
      {"trace", row.trace},
      {"step_ms", {{"median", row.step_ms.median}, {"min", row.step_ms.low}, {"max", row.step_ms.high}}},
      {"tokens_per_s", row.tokens_per_s()},
      {"hit_rate", row.hit_rate},
      {"measured_locality", row.measured_locality},
      {"missing_per_lane", row.missing_per_lane},
      {"pcie_bytes_per_step", row.pcie_bytes},
      {"hbm_bytes_per_step", row.memory_bytes},
      {"pcie_gb_s", row.pcie_bytes / seconds / 1e9},
      {"hbm_gb_s", row.memory_bytes / seconds / 1e9},
      {"roofline_ms", row.roofline_ms},
      {"roofline_share", share}};
  if (row.mode->offload) {
    json["step_ms_without_transfers"] = row.dry_ms;
    json["transfer_ms_alone"] = row.transfer_ms;
    if (row.hidden()) json["transfer_hidden"] = *row.hidden();
  }
  json["device_bytes"] = row.device_bytes;
  json["host_bytes"] = row.host_bytes;
  json["fingerprint"] = fmt::format("{:016x}", row.fingerprint);
  json_["rows"].push_back(std::move(json));
  table_.Row({std::string(row.mode->name), fmt::format("{}", row.context), fmt::format("{}", row.batch),
              row.mode->offload ? fmt::format("{:.2f}", row.slack) : "-", fmt::format("{:.2f}", row.step_ms.median),
              fmt::format("{:.0f}", row.tokens_per_s()), fmt::format("{:.2f} ms", row.roofline_ms),
              fmt::format("{:.0f} %", share * 100), fmt::format("{:.3f}", row.hit_rate),
              fmt::format("{:.3f}", row.measured_locality), fmt::format("{:.1f}", row.pcie_bytes / seconds / 1e9),
              fmt::format("{:.0f}", row.memory_bytes / seconds / 1e9),
              row.hidden() ? fmt::format("{:.0f} %", *row.hidden() * 100) : "-", FormatByteSize(row.device_bytes),
              FormatByteSize(row.host_bytes)});
}

Status StepBench::Run() {
  std::vector<const Mode*> modes;
  bool offloads = false;
  for (const std::string& name : flags_.modes) {
    for (const Mode& mode : kModes) {
      if (mode.name == name) modes.push_back(&mode);
    }
    offloads = offloads || modes.back()->offload;
  }
  NOSA_ASSIGN_OR_RETURN(pattern_, MakePattern(backend_));
  const size_t frame = kv::FrameOf(model_.block_layout()).bytes;
  NOSA_ASSIGN_OR_RETURN(ceilings_, Measure(backend_, frame, pattern_));
  json_ = BenchHeader(session_, "decode");
  json_["device"] = backend_.Describe();
  json_["gpu_memory_bytes"] = session_.flags.gpu_memory.value_or(0);
  json_["tokens"] = flags_.tokens;
  json_["pcie_gb_s"] = ceilings_.pcie / 1e9;
  json_["hbm_gb_s"] = ceilings_.memory / 1e9;
  json_["weight_bytes_per_step"] = WeightBytesPerStep(model_);
  json_["rows"] = io::OrderedJson::array();

  struct Plan {
    const Mode* mode;
    int context, batch;
    double slack;
    bool largest;  // the batch is what was predicted to fit
  };
  // An eighth of the RAM stays for everything else.
  host_bytes_ = session_.flags.kv_host.value_or(AvailableRamBytes() / 8 * 7);
  std::vector<Plan> plans;
  uint64_t pool_bytes = 0;
  for (const int context : flags_.contexts) {
    for (const Mode* mode : modes) {
      for (const double slack : mode->offload && mode->name != "inline" ? flags_.slacks : std::vector<double>{1.0}) {
        for (const int wanted : flags_.batches) {
          const int batch = wanted == 0 ? LargestBatch(*mode, context, slack) : wanted;
          if (batch == 0 || batch > LargestBatch(*mode, context, slack)) {
            LogWarn("{} at {} tokens: a batch of {} does not fit, {} would", mode->name, context, std::max(batch, 1),
                    LargestBatch(*mode, context, slack));
            continue;
          }
          plans.push_back({mode, context, batch, slack, wanted == 0});
          if (mode->offload) pool_bytes = std::max(pool_bytes, PageBytes(context, batch));
        }
      }
    }
  }
  if (offloads && pool_bytes > 0) {
    NOSA_ASSIGN_OR_RETURN(host_pool_, Pool::Create(backend_, backend_.shared_memory(), pool_bytes, frame, pattern_,
                                                   {.what = "pinning memory for KV",
                                                    .unit = "bytes",
                                                    .total = static_cast<int64_t>(pool_bytes),
                                                    .enabled = !session_.flags.quiet && !session_.flags.json}));
  }
  for (const Plan& plan : plans) {
    Result<StepRow> row = MeasureRow(*plan.mode, plan.context, plan.batch, plan.slack);
    // The last of a device's memory comes in pieces, which no prediction knows.
    for (int batch = plan.batch, tries = 0; plan.largest && tries < kLargestTries; ++tries) {
      if (row.ok() || row.status().code() != StatusCode::kResourceExhausted) break;
      const int smaller = batch - std::max(1, batch / 64);
      if (smaller < 1) break;
      LogWarn("{} at {} tokens: a batch of {} did not fit ({}), trying {}", plan.mode->name, plan.context, batch,
              row.status().message(), smaller);
      batch = smaller;
      row = MeasureRow(*plan.mode, plan.context, batch, plan.slack);
    }
    NOSA_RETURN_IF_ERROR(row.status());
    Add(*row);
  }
  if (session_.flags.json) {
    PrintJson(json_);
    return Status::Ok();
  }
  Print(fmt::format("{}, {}; blocks arrive at {:.1f} GB/s, device memory moves {:.0f} GB/s\n", session_.flags.model,
                    backend_.Describe(), ceilings_.pcie / 1e9, ceilings_.memory / 1e9));
  Print(table_.ToString());
  return Status::Ok();
}

}  // namespace

std::vector<std::string> StepModeNames() {
  std::vector<std::string> names;
  for (const Mode& mode : kModes) names.emplace_back(mode.name);
  return names;
}

Status BenchSteps(const Session& session, const StepBenchFlags& flags) { return StepBench(session, flags).Run(); }

}  // namespace nosa::apps
