#include "eval/task_run.h"

#include <algorithm>

#include "base/check.h"

namespace nosa::eval {

int TaskReport::correct() const {
  return static_cast<int>(std::count_if(answers.begin(), answers.end(), [](const TaskAnswer& a) { return a.ok; }));
}

int ReserveTokens(const tasks::Example& example) { return example.longest() + kSpareAnswerTokens; }

namespace {

// An example may be as long as the model reads: then its longest question has no tokens to spare.
int Bounded(const engine::Engine& engine, int64_t tokens) {
  return static_cast<int>(std::min(tokens, engine.model().config().max_position));
}

}  // namespace

Result<TaskReport> RunTask(engine::Engine& engine, const text::Tokenizer& tokenizer, const tasks::Example& example,
                           FunctionRef<bool(int done, int total)> progress) {
  OpenDocument document(engine, example.document);
  NOSA_RETURN_IF_ERROR(document.Read(Bounded(engine, ReserveTokens(example)), progress));
  const auto tokens = static_cast<int>(example.document.size());
  TaskReport report;
  for (const tasks::Question& question : example.questions) {
    NOSA_ASSIGN_OR_RETURN(std::string truth, tokenizer.Decode(question.answer, true));
    NOSA_CHECK(!truth.empty(), "a question without an answer");
    const std::string end(1, truth.back());
    truth.pop_back();
    const int64_t asked = tokens + static_cast<int64_t>(question.ids.size());
    const auto answer_tokens = static_cast<int64_t>(question.answer.size()) + kSpareAnswerTokens;
    Inquiry inquiry = {question.ids, static_cast<int>(Bounded(engine, asked + answer_tokens) - asked), {end}};
    // A model that goes on in another line will not come back to the answer.
    if (end != "\n" && truth.find('\n') == std::string::npos) inquiry.stop.emplace_back("\n");
    NOSA_ASSIGN_OR_RETURN(Reply reply, document.Ask(inquiry));
    TaskAnswer& answer = report.answers.emplace_back(TaskAnswer{std::move(reply)});
    answer.truth = Trimmed(truth);
    answer.ok = answer.text == answer.truth;
    if (!progress(tokens, tokens)) return Cancelled("interrupted");
  }
  static_cast<DocumentWork&>(report) = document.work();
  for (size_t i = 0; i < example.questions.size(); ++i) {
    const tasks::Question& question = example.questions[i];
    NOSA_ASSIGN_OR_RETURN(report.answers[i].score, document.Score(question.ids, question.answer));
    if (!progress(tokens, tokens)) return Cancelled("interrupted");
  }
  return report;
}

}  // namespace nosa::eval
