// nosa eval ppl: the mean next-token loss of a text.
#include <cmath>
#include <memory>

#include "apps/answer_report.h"
#include "apps/command.h"
#include "apps/interrupt.h"
#include "apps/progress.h"
#include "apps/prompt_input.h"
#include "apps/report.h"
#include "apps/session.h"
#include "apps/table.h"
#include "eval/perplexity.h"

namespace nosa::apps {
namespace {

struct PerplexityFlags {
  CommonFlags common;
  PromptFlags source;  // --text and --ids only
  int tokens = 0;      // 0: all
  int bucket = 1024;
};

io::OrderedJson ToJson(const RunReport& run, const eval::PerplexityReport& report) {
  io::OrderedJson json;
  json["source"] = run.answers.front().name;
  json["tokens"] = report.tokens;
  json["loss"] = report.loss;
  json["perplexity"] = std::exp(report.loss);
  json["buckets"] = io::OrderedJson::array();
  for (const eval::LossBucket& bucket : report.buckets) {
    io::OrderedJson row;
    row["first"] = bucket.first;
    row["tokens"] = bucket.tokens;
    row["loss"] = bucket.loss;
    json["buckets"].push_back(std::move(row));
  }
  json["timing"]["load_s"] = run.session.load_seconds;
  json["timing"]["prefill_s"] = report.prefill_seconds;
  json["timing"]["prefill_tok_s"] = report.prefill_seconds > 0 ? report.prefill_tokens / report.prefill_seconds : 0;
  json["kv"] = KvJson(run);
  return json;
}

void PrintForPeople(const RunReport& run, const eval::PerplexityReport& report) {
  Table table({"positions", "tokens", "loss", "perplexity"});
  for (const eval::LossBucket& bucket : report.buckets) {
    table.Row({fmt::format("{} to {}", FormatCount(bucket.first), FormatCount(bucket.first + bucket.tokens - 1)),
               FormatCount(bucket.tokens), fmt::format("{:.4f}", bucket.loss),
               fmt::format("{:.3f}", std::exp(bucket.loss))});
  }
  table.Row({"all", FormatCount(report.tokens), fmt::format("{:.4f}", report.loss),
             fmt::format("{:.3f}", std::exp(report.loss))});
  Print(table.ToString());
  if (run.session.flags.quiet) return;
  Print(fmt::format("\nMean next-token loss in nats of {}: {} tokens read in {:.1f} s, {:.0f} a second.\n",
                    run.answers.front().name, FormatCount(report.prefill_tokens), report.prefill_seconds,
                    report.prefill_tokens / report.prefill_seconds));
}

Status Perplexity(const PerplexityFlags& flags) {
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, OpenSession(flags.common));
  NOSA_ASSIGN_OR_RETURN(std::vector<Prompt> prompts, ReadPrompts(*session, flags.source));
  Prompt& prompt = prompts.front();
  if (flags.tokens > 0 && static_cast<size_t>(flags.tokens) < prompt.ids.size())
    prompt.ids.resize(static_cast<size_t>(flags.tokens));
  const int sequences[] = {SequenceTokens(*session, prompt.ids.size(), 0)};
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Engine> engine, MakeEngine(*session, sequences, Use::kRead));
  Progress progress({.what = "reading",
                     .total = static_cast<int64_t>(prompt.ids.size()),
                     .enabled = !flags.common.json && !flags.common.quiet});
  const Result<eval::PerplexityReport> report =
      eval::MeasurePerplexity(*engine, prompt.ids, flags.bucket, [&](int done, int) {
        progress.Update(done);
        return !Interrupted();
      });
  progress.Finish();
  if (!report.ok()) return report.status().WithContext(prompt.name);
  engine::RequestResult read;
  read.prompt_tokens = report->prefill_tokens;
  const RunReport run = {*session, *engine, {{prompt.name, read}}};
  if (flags.common.json) {
    PrintJson(ToJson(run, *report));
  } else {
    PrintForPeople(run, *report);
  }
  return Status::Ok();
}

Status Check(const PerplexityFlags& flags) {
  NOSA_RETURN_IF_ERROR(CheckCommonFlags(flags.common));
  const size_t given = flags.source.files.size() + (flags.source.ids ? 1 : 0);
  if (given != 1) return InvalidArgument("expected one of --text and --ids, found {}", given == 0 ? "none" : "several");
  return Status::Ok();
}

}  // namespace

void AddEvalPerplexity(Command command) {
  auto flags = std::make_shared<PerplexityFlags>();
  command.Texts("--text", &flags->source.files, "file with the text", "FILE");
  command.Text("--ids", &flags->source.ids, "file with the text as a JSON array of token ids", "FILE");
  command.Int("--tokens", &flags->tokens, 0, "read only so many from the beginning; 0: all");
  command.Int("--bucket", &flags->bucket, 1, "positions in each row of the table");
  AddCommonFlags(command, &flags->common);
  command.Does([flags] { return Perplexity(*flags); }, [flags] { return Check(*flags); });
}

}  // namespace nosa::apps
