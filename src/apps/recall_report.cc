#include "apps/recall_report.h"

#include "apps/answer_report.h"
#include "apps/interrupt.h"
#include "apps/progress.h"
#include "base/bytes.h"

namespace nosa::apps {
namespace {

// More than any text needs per token, so that a corpus which has enough is never cut too short.
constexpr uint64_t kBytesPerToken = 16;

io::OrderedJson FactsJson(const eval::RecallReport& report) {
  io::OrderedJson facts = io::OrderedJson::array();
  for (size_t i = 0; i < report.answers.size(); ++i) {
    const tasks::Fact& fact = report.facts[i];
    const eval::RecallAnswer& answer = report.answers[i];
    io::OrderedJson json;
    json["word"] = fact.word;
    json["depth"] = fact.depth;
    json["position"] = fact.position;
    json["truth"] = fact.number;
    json["answer"] = answer.text;
    json["ok"] = answer.ok;
    json["ids"] = answer.ids;
    json["fingerprint"] = FormatFingerprint(answer.fingerprint);
    facts.push_back(std::move(json));
  }
  return facts;
}

io::OrderedJson PhaseJson(const engine::EngineStats& stats) {
  io::OrderedJson json;
  json["hit_rate"] = HitRate(stats.kv);
  json["blocks_fetched"] = stats.kv.blocks_fetched;
  json["bytes_fetched"] = stats.kv.bytes_fetched;
  json["stall_s"] = stats.kv.stall_seconds;
  json["recomputed_blocks"] = stats.recomputed_blocks;
  return json;
}

}  // namespace

std::string FetchedPerToken(const engine::EngineStats& stats, int64_t tokens) {
  return FormatByteSize(tokens == 0 ? 0 : stats.kv.bytes_fetched / static_cast<uint64_t>(tokens));
}

io::OrderedJson RecallJson(const eval::RecallReport& report, const kv::KvStore& store) {
  io::OrderedJson json;
  json["document_tokens"] = report.document_tokens;
  json["correct"] = report.correct();
  json["facts"] = FactsJson(report);
  json["fingerprint"] = FormatFingerprint(report.fingerprint);
  io::OrderedJson timing;
  timing["prefill_s"] = report.reading.seconds;
  timing["prefill_tok_s"] = report.reading.per_second();
  timing["questions_s"] = report.questions.seconds;
  timing["question_tokens"] = report.questions.tokens;
  timing["decode_s"] = report.decode.seconds;
  timing["decode_tokens"] = report.decode.tokens;
  timing["decode_tok_s"] = report.decode.per_second();
  json["timing"] = std::move(timing);
  io::OrderedJson kv;
  kv["total_bytes"] = report.kv_bytes;
  kv["host_budget_bytes"] = store.host_budget_bytes();
  kv["host_peak_bytes"] = report.while_answering.kv.host_peak_bytes;
  kv["disk_bytes"] = report.while_answering.kv.cold_peak_bytes;
  kv["locality"] = report.while_answering.decode_locality.mean();
  kv["prefill_locality"] = report.while_reading.prefill_locality.mean();
  kv["reading"] = PhaseJson(report.while_reading);
  kv["answering"] = PhaseJson(report.while_answering);
  json["kv"] = std::move(kv);
  return json;
}

Result<tasks::RecallTask> MakeRecallTask(const Session& session, const tasks::Corpus& corpus,
                                         const tasks::RecallOptions& options) {
  const std::string text =
      tasks::JoinDocuments(corpus, static_cast<uint64_t>(options.tokens) * kBytesPerToken, options.seed);
  return tasks::BuildRecallTask(*session.tokenizer, text, options);
}

Result<eval::RecallReport> RunRecallWithBar(
    const Session& session, engine::Engine& engine, const tasks::RecallTask& task, const std::string& what,
    FunctionRef<void(const tasks::Fact&, const eval::RecallAnswer&)> on_answer) {
  Progress progress({.what = what,
                     .total = static_cast<int64_t>(task.document.size()),
                     .enabled = !session.flags.json && !session.flags.quiet});
  return eval::RunRecall(engine, task, [&](const eval::RecallProgress& now) {
    if (now.answer == nullptr) {
      progress.Update(now.document_done);
    } else {
      progress.Finish();
      on_answer(*now.fact, *now.answer);
    }
    return !Interrupted();
  });
}

}  // namespace nosa::apps
