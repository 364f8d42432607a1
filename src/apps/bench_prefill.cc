// nosa bench prefill: how fast a prompt is read, with selection and with every block.
#include <algorithm>
#include <memory>

#include "apps/bench.h"
#include "apps/progress.h"
#include "apps/report.h"
#include "apps/table.h"
#include "base/clock.h"

namespace nosa::apps {
namespace {

struct PrefillFlags {
  CommonFlags common;
  std::vector<int> contexts = {2048, 8192};
  int repeats = 1;
};

struct PrefillRow {
  int context = 0;
  bool dense = false;
  Spread seconds;
  uint64_t fingerprint = 0;
};

Result<PrefillRow> MeasurePrefill(const Session& session, const PrefillFlags& flags, int context, bool dense,
                                  int repeats) {
  Session mine = session;
  mine.flags.prefill = dense ? "dense" : "sparse";
  PrefillRow row = {context, dense, {}, 0};
  std::vector<double> seconds;
  for (int i = 0; i < repeats; ++i) {
    const std::vector<int> lengths = {context + 1};
    NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Engine> engine, MakeEngine(mine, lengths, Use::kRead));
    Progress progress({.what = fmt::format("reading {} tokens, {}", context, mine.flags.prefill),
                       .total = context,
                       .enabled = !flags.common.quiet && !flags.common.json});
    NOSA_ASSIGN_OR_RETURN(
        const engine::RequestId id,
        engine->Submit({.prompt = BenchPrompt(*session.model, context), .max_tokens = 1, .ignore_eos = true}));
    std::vector<engine::Event> events;
    const Stopwatch watch;
    while (engine->HasWork()) {
      events.clear();
      NOSA_RETURN_IF_ERROR(engine->Step(&events));
      for (const engine::Event& event : events) {
        NOSA_RETURN_IF_ERROR(event.error);
        if (event.prompt_tokens > 0) progress.Update(event.prompt_done);
      }
    }
    seconds.push_back(watch.Seconds());
    row.fingerprint = engine->result(id).fingerprint;
  }
  row.seconds = SpreadOf(seconds);
  NOSA_RETURN_IF_ERROR(CheckMeasured(row.seconds.median, "a prefill"));
  return row;
}

Status BenchPrefill(const PrefillFlags& flags) {
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, OpenSession(flags.common));
  for (const int context : flags.contexts)
    NOSA_RETURN_IF_ERROR(CheckContext(*session, int64_t{context} + 1));  // and one answered
  io::OrderedJson json = BenchHeader(*session, "prefill");
  json["chunk"] = PrefillChunk(*session);
  json["rows"] = io::OrderedJson::array();
  Table table({"tokens", "prefill", "s", "tok/s", "dense/sparse"});
  // What a device loads and a library chooses once is not a prompt's: two chunks, both ways.
  if (!HostAddressable(session->backend->compute_memory())) {
    const int most = *std::max_element(flags.contexts.begin(), flags.contexts.end());
    for (const bool dense : {true, false}) {
      const int context = std::min(most, 2 * PrefillChunk(*session));
      NOSA_RETURN_IF_ERROR(MeasurePrefill(*session, flags, context, dense, 1).status());
    }
  }
  for (const int context : flags.contexts) {
    double dense_seconds = 0;
    for (const bool dense : {true, false}) {
      NOSA_ASSIGN_OR_RETURN(const PrefillRow row, MeasurePrefill(*session, flags, context, dense, flags.repeats));
      const double seconds = row.seconds.median;
      if (dense) dense_seconds = seconds;
      json["rows"].push_back({{"context", context},
                              {"prefill", dense ? "dense" : "sparse"},
                              {"seconds", {{"median", seconds}, {"min", row.seconds.low}, {"max", row.seconds.high}}},
                              {"tokens_per_s", context / seconds},
                              {"fingerprint", fmt::format("{:016x}", row.fingerprint)}});
      table.Row({fmt::format("{}", context), dense ? "dense" : "sparse", fmt::format("{:.2f}", seconds),
                 fmt::format("{:.0f}", context / seconds), fmt::format("{:.2f}", dense_seconds / seconds)});
    }
  }
  if (flags.common.json) {
    PrintJson(json);
  } else {
    Print(fmt::format("{}, {}\n", flags.common.model, session->backend->Describe()));
    Print(table.ToString());
  }
  return Status::Ok();
}

}  // namespace

void AddBenchPrefill(Command command) {
  auto flags = std::make_shared<PrefillFlags>();
  AddCommonFlags(command, &flags->common);
  command.Ints("--context", &flags->contexts, 1, "tokens of the prompt; a dense and a sparse row each");
  command.Int("--repeats", &flags->repeats, 1, "times each is measured");
  command.Does([flags] { return BenchPrefill(*flags); }, [flags] { return CheckCommonFlags(flags->common); });
}

}  // namespace nosa::apps
