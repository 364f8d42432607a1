#include "eval/recall.h"

#include <algorithm>

namespace nosa::eval {

int RecallReport::correct() const {
  return static_cast<int>(std::count_if(answers.begin(), answers.end(), [](const RecallAnswer& a) { return a.ok; }));
}

Result<RecallReport> RunRecall(engine::Engine& engine, const tasks::RecallTask& task, RecallCallback progress) {
  OpenDocument document(engine, task.document);
  NOSA_RETURN_IF_ERROR(document.Read(task.reserve_tokens(), [&](int done, int total) {
    return progress({.document_done = done, .document_tokens = total});
  }));
  RecallReport report;
  const auto tokens = static_cast<int>(task.document.size());
  for (const tasks::Fact& fact : task.facts) {
    NOSA_ASSIGN_OR_RETURN(Reply reply, document.Ask({fact.question, tasks::kRecallAnswerTokens, {".", "\n"}}));
    tasks::Fact& known = report.facts.emplace_back(fact);
    known.question.clear();
    RecallAnswer& answer = report.answers.emplace_back(RecallAnswer{std::move(reply)});
    answer.ok = answer.text == fact.number;
    if (!progress({tokens, tokens, &fact, &answer})) return Cancelled("interrupted");
  }
  static_cast<DocumentWork&>(report) = document.work();
  return report;
}

}  // namespace nosa::eval
