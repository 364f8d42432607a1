#include "apps/recall_report.h"

#include "apps/answer_report.h"
#include "apps/document_report.h"
#include "apps/interrupt.h"
#include "apps/progress.h"

namespace nosa::apps {
namespace {

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

}  // namespace

io::OrderedJson RecallJson(const eval::RecallReport& report, const kv::KvStore& store) {
  io::OrderedJson json;
  json["document_tokens"] = report.document_tokens;
  json["correct"] = report.correct();
  json["facts"] = FactsJson(report);
  json["fingerprint"] = FormatFingerprint(report.fingerprint);
  json["timing"] = DocumentTimingJson(report);
  json["kv"] = DocumentKvJson(report, store);
  return json;
}

Result<tasks::RecallTask> MakeRecallTask(const Session& session, const tasks::Corpus& corpus,
                                         const tasks::RecallOptions& options) {
  const std::string text =
      tasks::JoinDocuments(corpus, static_cast<uint64_t>(options.tokens) * tasks::kBytesPerToken, options.seed);
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
