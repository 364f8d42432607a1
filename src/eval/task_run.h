// How many questions about an example (tasks/task.h) a model answers.
#pragma once

#include <string>
#include <vector>

#include "base/function_ref.h"
#include "engine/engine.h"
#include "eval/open_document.h"
#include "tasks/task.h"

namespace nosa::eval {

struct TaskAnswer : Reply {
  std::string truth = {};  // as `text` would be
  bool ok = false;         // the text is the truth
  AnswerScore score = {};  // of the true answer, its last character included
};

struct TaskReport : DocumentWork {
  std::vector<TaskAnswer> answers;  // of questions[i]

  int correct() const;
};

// Tokens that an answer may take beyond those of the true one, which another tokenisation of the same text might need.
inline constexpr int kSpareAnswerTokens = 4;

// The most tokens a sequence of the example holds, answers included.
int ReserveTokens(const tasks::Example& example);

// Reads the document once and asks each question greedily, every time from the document's end; then scores the true
// answers, which the figures of work leave out. True answers are scored as text that is read, so with dense prefill
// they are read densely. `tokenizer` is the engine's and the example's. `progress` sees the reading, and is called
// after each question; false gives the run up: kCancelled. Else fails as OpenDocument.
Result<TaskReport> RunTask(engine::Engine& engine, const text::Tokenizer& tokenizer, const tasks::Example& example,
                           FunctionRef<bool(int done, int total)> progress);

}  // namespace nosa::eval
