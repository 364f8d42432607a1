// nosa demo: the main job on real text. Facts are hidden in sources and documentation, and asked for with most of the
// KV cache on disk; then once more with all of it in RAM, which must give the same answers to the bit.
#include <filesystem>
#include <memory>

#include "apps/answer_report.h"
#include "apps/command.h"
#include "apps/document_report.h"
#include "apps/recall_report.h"
#include "apps/report.h"
#include "apps/table.h"
#include "base/bytes.h"
#include "base/log.h"

namespace nosa::apps {
namespace {

struct DemoFlags {
  CommonFlags common;
  std::vector<std::string> sources;
  tasks::RecallOptions task;
};

// One run, and what is known of its store once the engine is gone.
struct DemoRun {
  eval::RecallReport report;
  std::string budget;
  io::OrderedJson json;
};

// What is not there is left out, unless nothing is: the demo is for the repository's own folder first.
Result<std::vector<std::filesystem::path>> Sources(const DemoFlags& flags) {
  if (!flags.sources.empty()) return std::vector<std::filesystem::path>(flags.sources.begin(), flags.sources.end());
  std::vector<std::filesystem::path> found;
  std::error_code error;
  // Not the README: it shows the demo's output, which would change with what it shows.
  for (const char* name : {"src", "docs"}) {
    if (std::filesystem::exists(name, error)) found.emplace_back(name);
  }
  if (found.empty()) return NotFound("expected src or docs in the current directory; --source PATH names other text");
  return found;
}

std::string Names(const std::vector<std::filesystem::path>& paths) {
  std::string names;
  for (size_t i = 0; i < paths.size(); ++i) {
    if (i > 0) names += i + 1 == paths.size() ? " and " : ", ";
    names += paths[i].string();
  }
  return names;
}

void Say(const Session& session, const std::string& text) {
  if (session.flags.json) return;
  Print(text);
  (void)FlushStdout();  // lines are to be seen as they come; the end says whether stdout took them
}

std::string AnswerRow(const std::string& depth, const std::string& word, const std::string& answer,
                      const std::string& truth, const std::string& ok) {
  return fmt::format("   {:>5}  {:<8}  {:<8}  {:<5}{}{}\n", depth, word, answer, truth, ok.empty() ? "" : "  ", ok);
}

Result<DemoRun> RunOnce(const Session& session, const tasks::RecallTask& task, const std::string& title) {
  const int sequences[] = {task.reserve_tokens()};
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<engine::Engine> engine,
                        MakeEngine(session, sequences, Use::kPlannedAnswer));
  Say(session, fmt::format("\n{}\n   {}\n\n", title, engine->store().DescribeTiers()));
  bool first = true;
  const auto on_answer = [&](const tasks::Fact& fact, const eval::RecallAnswer& answer) {
    if (first) Say(session, AnswerRow("depth", "word", "answer", "truth", ""));
    first = false;
    Say(session, AnswerRow(fmt::format("{:.0f} %", 100 * fact.depth), fact.word, answer.text, fact.number,
                           answer.ok ? "right" : "wrong"));
  };
  const std::string what = fmt::format("   reading {} tokens", FormatCount(static_cast<int64_t>(task.document.size())));
  DemoRun run;
  NOSA_ASSIGN_OR_RETURN(run.report, RunRecallWithBar(session, *engine, task, what, on_answer));
  run.budget = FormatByteSize(engine->store().host_budget_bytes());
  run.json = RecallJson(run.report, engine->store());
  Say(session, fmt::format("\n   {} of {} right, fingerprint {}\n", run.report.correct(), run.report.answers.size(),
                           FormatFingerprint(run.report.fingerprint)));
  return run;
}

bool SameTokens(const eval::RecallReport& a, const eval::RecallReport& b) {
  for (size_t i = 0; i < a.answers.size(); ++i) {
    if (a.answers[i].ids != b.answers[i].ids) return false;
  }
  return a.answers.size() == b.answers.size();
}

std::vector<std::string> Column(const DemoRun& run) {
  const eval::RecallReport& r = run.report;
  const kv::StoreStats& kv = r.while_answering.kv;
  return {FormatCount(r.document_tokens),
          FormatByteSize(r.kv_bytes),
          run.budget,
          FormatByteSize(kv.host_peak_bytes),
          FormatByteSize(kv.cold_peak_bytes),
          fmt::format("{:.3f}", r.while_answering.decode_locality.mean()),
          fmt::format("{:.3f} / {:.3f}", HitRate(r.while_reading.kv), HitRate(kv)),
          FetchedPerToken(r.while_reading, r.reading.tokens) + " / " +
              FetchedPerToken(r.while_answering, r.questions.tokens + r.decode.tokens),
          fmt::format("{:.0f} tok/s", r.reading.per_second()),
          fmt::format("{:.0f} tok/s", r.decode.per_second())};
}

std::string Comparison(const DemoRun& offloaded, const DemoRun& in_ram) {
  const std::vector<std::string> names = {"tokens read",
                                          "KV in all",
                                          "RAM budget for KV",
                                          "RAM peak of KV",
                                          "KV on disk",
                                          "locality of decode",
                                          "hit rate, reading / answering",
                                          "fetched per token, reading / answering",
                                          "prefill",
                                          "decode"};
  const std::vector<std::string> left = Column(offloaded), right = Column(in_ram);
  Table table({"", "RAM and disk", "all in RAM"});
  for (size_t i = 0; i < names.size(); ++i) table.Row({names[i], left[i], right[i]});
  return table.ToString();
}

// Says whether the runs agree, and what each took. An error when they do not.
Status Compare(const Session& session, const DemoRun& offloaded, const DemoRun& in_ram) {
  const bool same_tokens = SameTokens(offloaded.report, in_ram.report);
  const bool same_bits = offloaded.report.fingerprint == in_ram.report.fingerprint;
  if (session.flags.json) {
    io::OrderedJson json;
    json["same_tokens"] = same_tokens;
    json["same_fingerprint"] = same_bits;
    json["offloaded"] = offloaded.json;
    json["in_ram"] = in_ram.json;
    PrintJson(json);
  }
  Say(session, fmt::format("\nAnswer tokens: {}. Fingerprint (every bit of the logits they come from): {}.\n\n",
                           same_tokens ? "equal" : "DIFFERENT", same_bits ? "equal" : "DIFFERENT"));
  Say(session, Comparison(offloaded, in_ram));
  if (same_tokens && same_bits) return Status::Ok();
  return Internal("expected the same {} with KV on disk as in RAM, found others",
                  same_tokens ? "fingerprint" : "tokens");
}

Status Demo(const DemoFlags& flags) {
  NOSA_ASSIGN_OR_RETURN(const std::vector<std::filesystem::path> sources, Sources(flags));
  NOSA_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session, OpenSession(flags.common));
  NOSA_RETURN_IF_ERROR(session->NeedTokenizer());
  SetLogLevel(LogLevel::kWarn);  // the demo says itself where KV goes
  NOSA_ASSIGN_OR_RETURN(const tasks::Corpus corpus, tasks::ReadCorpus(sources));
  NOSA_ASSIGN_OR_RETURN(const tasks::RecallTask task, MakeRecallTask(*session, corpus, flags.task));
  Say(*session, fmt::format("Can {} find {} facts in a text of {} tokens?\n\n", flags.common.model, task.facts.size(),
                            FormatCount(flags.task.tokens)));
  Say(*session, fmt::format("The text is from {}. Lines such as \"# The secret number of {} is {}.\"\nare hidden in "
                            "it, and asked for at its end.\n",
                            Names(sources), task.facts[0].word, task.facts[0].number));

  NOSA_ASSIGN_OR_RETURN(const DemoRun offloaded, RunOnce(*session, task,
                                                         fmt::format("1. With {} of RAM for KV, the rest on disk",
                                                                     FormatByteSize(*flags.common.kv_host))));
  session->flags.kv_host.reset();
  session->flags.kv_disk.reset();
  NOSA_ASSIGN_OR_RETURN(const DemoRun in_ram, RunOnce(*session, task, "2. The same with all KV in RAM"));

  return Compare(*session, offloaded, in_ram);
}

}  // namespace

void AddDemo(Command command) {
  auto flags = std::make_shared<DemoFlags>();
  flags->common.model = "models/nosa-21m";
  flags->common.topk = 64;
  flags->common.query_topk = 16;
  flags->common.kv_host = 8 * kMiB;
  flags->task.tokens = 12000;
  command.Texts("--source", &flags->sources,
                "file or folder with text; may be given several times (default: src and docs)", "PATH");
  command.Int("--tokens", &flags->task.tokens, 1, "of the text, facts and question included");
  command.Int("--facts", &flags->task.facts, 1, "facts in the text", static_cast<int>(tasks::Nouns().size()));
  command.Seed("--seed", &flags->task.seed, "of the order of files, the words and the numbers");
  AddCommonFlags(command, &flags->common, {.model_required = false});
  command.Does([flags] { return Demo(*flags); }, [flags] { return CheckCommonFlags(flags->common); });
}

}  // namespace nosa::apps
