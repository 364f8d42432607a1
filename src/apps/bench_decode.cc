// nosa bench decode: the time of one token as the context grows, and what it is made of.
#include <fmt/ranges.h>

#include <algorithm>
#include <cstdlib>
#include <memory>

#include "apps/bench.h"
#include "apps/bench_steps.h"
#include "apps/progress.h"
#include "apps/report.h"
#include "apps/table.h"
#include "backend/cpu/probe.h"
#include "base/clock.h"

namespace nosa::apps {
namespace {

struct DecodeFlags {
  CommonFlags common;
  std::vector<int> contexts = {4096};
  int tokens = 64;
  std::vector<int> batches = {1};
  StepBenchFlags steps;

  int batch() const { return batches.front(); }
};

struct DecodeRow {
  int context = 0;
  Spread step_ms;
  double tokens_per_s = 0;
  double weight_gb_s = 0;
  double hit_rate = 0, fetched_per_token = 0, stall_share = 0, locality = 0;
  uint64_t kv_bytes = 0, host_peak = 0, disk_bytes = 0;
  uint64_t fingerprint = 0;
};

std::vector<std::string> SplitList(std::string_view text) {
  std::vector<std::string> words(1);
  for (const char c : text) {
    if (c == ',') {
      words.emplace_back();
    } else {
      words.back() += c;
    }
  }
  return words;
}

Status ReadPrompts(engine::Engine& engine, const DecodeFlags& flags, const std::vector<TokenId>& prompt,
                   std::vector<engine::RequestId>* ids) {
  Progress progress({.what = fmt::format("reading {} tokens", prompt.size()),
                     .total = static_cast<int64_t>(prompt.size()) * flags.batch(),
                     .enabled = !flags.common.quiet && !flags.common.json});
  for (int i = 0; i < flags.batch(); ++i) {
    std::vector<TokenId> own = prompt;
    own[0] = i;  // sequences that differ, so that nothing could be shared
    NOSA_ASSIGN_OR_RETURN(const engine::RequestId id,
                          engine.Submit({.prompt = own,
                                         .max_tokens = 0,
                                         .keep_open = true,
                                         .reserve_tokens = static_cast<int>(own.size()) + flags.tokens + 2}));
    ids->push_back(id);
    std::vector<engine::Event> events;
    while (engine.HasWork()) {
      events.clear();
      NOSA_RETURN_IF_ERROR(engine.Step(&events));
      for (const engine::Event& event : events) {
        progress.Update(static_cast<int64_t>(i) * static_cast<int64_t>(prompt.size()) + event.prompt_done);
        NOSA_RETURN_IF_ERROR(event.error);
      }
    }
  }
  return Status::Ok();
}

Result<DecodeRow> MeasureContext(const Session& session, const DecodeFlags& flags, int context) {
  // The timed steps end at `context`, so that the longest the model reads can be measured.
  const int filled = context - flags.tokens - 2;
  if (filled < 1) return InvalidArgument("a context of {} has no room for {} timed tokens", context, flags.tokens);
  const std::vector<int> lengths(static_cast<size_t>(flags.batch()), context);
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Engine> engine, MakeEngine(session, lengths));
  std::vector<engine::RequestId> ids;
  NOSA_RETURN_IF_ERROR(ReadPrompts(*engine, flags, BenchPrompt(*session.model, filled), &ids));
  for (const engine::RequestId id : ids) {
    NOSA_RETURN_IF_ERROR(
        engine->Continue(id, filled, {1}, {.max_tokens = flags.tokens + 1, .ignore_eos = true, .keep_open = true}));
  }
  std::vector<engine::Event> events;
  // The first steps read the one token each was continued with, and give the first new one.
  for (int i = 0; i < flags.batch(); ++i) NOSA_RETURN_IF_ERROR(engine->Step(&events));
  const engine::EngineStats before = engine->stats();
  std::vector<double> steps;
  while (engine->HasWork()) {
    events.clear();
    const Stopwatch watch;
    NOSA_RETURN_IF_ERROR(engine->Step(&events));
    steps.push_back(watch.Seconds() * 1e3);
    for (const engine::Event& event : events) NOSA_RETURN_IF_ERROR(event.error);
  }
  const engine::EngineStats after = engine->stats();
  DecodeRow row;
  row.context = context;
  row.step_ms = SpreadOf(steps);
  NOSA_RETURN_IF_ERROR(CheckMeasured(row.step_ms.median, "a decode step"));
  row.tokens_per_s = flags.batch() * 1e3 / row.step_ms.median;
  row.weight_gb_s = static_cast<double>(WeightBytesPerStep(*session.model)) / row.step_ms.median / 1e6;
  const double lookups = static_cast<double>(after.kv.lookups - before.kv.lookups);
  row.hit_rate = lookups == 0 ? 1 : static_cast<double>(after.kv.hits - before.kv.hits) / lookups;
  row.fetched_per_token = static_cast<double>(after.kv.bytes_fetched - before.kv.bytes_fetched) /
                          static_cast<double>(steps.size()) / flags.batch();
  double total = 0;
  for (const double ms : steps) total += ms / 1e3;
  row.stall_share = (after.kv.stall_seconds - before.kv.stall_seconds) / total;
  row.locality = after.decode_locality.mean();
  const kv::BlockLayout layout = session.model->block_layout();
  row.kv_bytes = static_cast<uint64_t>(layout.Blocks(context)) * layout.BlockBytes() *
                 static_cast<uint64_t>(layout.lanes()) * static_cast<uint64_t>(flags.batch());
  row.host_peak = after.kv.host_peak_bytes;
  row.disk_bytes = after.kv.cold_peak_bytes;
  for (const engine::RequestId id : ids) row.fingerprint ^= engine->result(id).fingerprint;
  return row;
}

io::OrderedJson RowJson(const DecodeRow& row) {
  return {{"context", row.context},
          {"step_ms", {{"median", row.step_ms.median}, {"min", row.step_ms.low}, {"max", row.step_ms.high}}},
          {"tokens_per_s", row.tokens_per_s},
          {"weight_gb_s", row.weight_gb_s},
          {"hit_rate", row.hit_rate},
          {"fetched_bytes_per_token", row.fetched_per_token},
          {"stall_share", row.stall_share},
          {"locality", row.locality},
          {"kv_bytes", row.kv_bytes},
          {"host_peak_bytes", row.host_peak},
          {"disk_bytes", row.disk_bytes},
          {"fingerprint", fmt::format("{:016x}", row.fingerprint)}};
}

Status BenchDecode(const DecodeFlags& flags) {
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, OpenSession(flags.common));
  for (const int context : flags.contexts) NOSA_RETURN_IF_ERROR(CheckContext(*session, context));
  if (!session->backend->records_graphs() && (flags.batches.size() != 1 || flags.batch() < 1)) {
    return InvalidArgument("--batch takes one number from 1 on, unless steps run on a GPU");
  }
  if (session->backend->records_graphs()) {
    StepBenchFlags steps = flags.steps;
    steps.contexts = flags.contexts;
    steps.batches = flags.batches;
    steps.tokens = flags.tokens;
    return BenchSteps(*session, steps);
  }
  // Larger than the caches of one machine's share; the weights it is compared with are in memory too.
  constexpr size_t kProbeBytes = size_t{1} << 30;
  const bool has_pool = session->backend->pool() != nullptr;
  const double bandwidth = has_pool ? cpu::ReadBandwidth(*session->backend, kProbeBytes, 5) : 0;
  std::vector<DecodeRow> rows;
  for (const int context : flags.contexts) {
    NOSA_ASSIGN_OR_RETURN(DecodeRow row, MeasureContext(*session, flags, context));
    rows.push_back(row);
  }
  io::OrderedJson json = BenchHeader(*session, "decode");
  json["batch"] = flags.batch();
  json["tokens"] = flags.tokens;
  json["read_bandwidth_gb_s"] = bandwidth / 1e9;
  json["weight_bytes_per_step"] = WeightBytesPerStep(*session->model);
  json["rows"] = io::OrderedJson::array();
  Table table({"context", "ms/step", "min", "max", "tok/s", "weights GB/s", "of bandwidth", "hit rate", "fetched/token",
               "stalled", "locality", "KV", "RAM peak"});
  for (const DecodeRow& row : rows) {
    json["rows"].push_back(RowJson(row));
    table.Row({fmt::format("{}", row.context), fmt::format("{:.2f}", row.step_ms.median),
               fmt::format("{:.2f}", row.step_ms.low), fmt::format("{:.2f}", row.step_ms.high),
               fmt::format("{:.1f}", row.tokens_per_s), fmt::format("{:.1f}", row.weight_gb_s),
               bandwidth > 0 ? fmt::format("{:.0f} %", row.weight_gb_s * 1e11 / bandwidth) : "-",
               fmt::format("{:.3f}", row.hit_rate), FormatByteSize(static_cast<uint64_t>(row.fetched_per_token)),
               fmt::format("{:.0f} %", row.stall_share * 100), fmt::format("{:.3f}", row.locality),
               FormatByteSize(row.kv_bytes), FormatByteSize(row.host_peak)});
  }
  if (flags.common.json) {
    PrintJson(json);
  } else {
    Print(fmt::format("{}, {}; memory reads at {:.1f} GB/s\n", flags.common.model, session->backend->Describe(),
                      bandwidth / 1e9));
    Print(table.ToString());
  }
  return Status::Ok();
}

}  // namespace

namespace {

// What only a GPU's decode steps take.
void AddStepFlags(Command& command, StepBenchFlags* flags) {
  flags->modes = {"nosa"};
  command.Parsed(
      "--mode", "NAME[,NAME]",
      [flags](std::string_view text) {
        flags->modes.clear();
        const std::vector<std::string> known = StepModeNames();
        for (const std::string& name : SplitList(text)) {
          if (std::find(known.begin(), known.end(), name) == known.end()) {
            return InvalidArgument("expected some of {}, found \"{}\"", fmt::join(known, ", "), name);
          }
          flags->modes.push_back(name);
        }
        return Status::Ok();
      },
      "GPU: what is measured: nosa, inline, infllm2, resident, full");
  command.Parsed(
      "--slack", "N[,N]",
      [flags](std::string_view text) {
        flags->slacks.clear();
        for (const std::string& word : SplitList(text)) {
          char* end = nullptr;
          const double value = std::strtod(word.c_str(), &end);
          if (end == word.c_str() || *end != 0 || value < 1) {
            return InvalidArgument("expected numbers from 1 on, found \"{}\"", word);
          }
          flags->slacks.push_back(value);
        }
        return Status::Ok();
      },
      "GPU: slots per KV head, in units of the blocks a step reads (default 1)");
  command.Number("--locality", &flags->locality,
                 "GPU: selections are made up so that this share stays from step to step; 0: the model's own");
  command.Number("--infllm2-locality", &flags->infllm2_locality, "GPU: the same for mode infllm2; 0: as --locality");
  command.Text("--trace", &flags->trace, "GPU: selections as `nosa trace` recorded them, instead of made-up ones",
               "FILE");
  command.Choice("--reuse", &flags->reuse, {"uniform", "stack"},
                 "GPU: made-up blocks come from anywhere, or come back as nosa-21m's do");
}

}  // namespace

void AddBenchDecode(Command command) {
  auto flags = std::make_shared<DecodeFlags>();
  AddCommonFlags(command, &flags->common);
  command.Ints("--context", &flags->contexts, 1, "tokens in the cache after the last timed step; one row each");
  command.Int("--tokens", &flags->tokens, 1, "timed steps");
  command.Ints("--batch", &flags->batches, 0, "sequences that answer together; on a GPU several, 0: the most that fit");
  AddStepFlags(command, &flags->steps);
  command.Does([flags] { return BenchDecode(*flags); }, [flags] { return CheckCommonFlags(flags->common); });
}

}  // namespace nosa::apps
