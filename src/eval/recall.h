// How many planted facts (tasks/recall_task.h) come back when they are asked for.
#pragma once

#include <vector>

#include "base/function_ref.h"
#include "engine/engine.h"
#include "eval/open_document.h"
#include "tasks/recall_task.h"

namespace nosa::eval {

struct RecallAnswer : Reply {  // up to the full stop or the end of the line
  bool ok = false;             // it is the number
};

struct RecallReport : DocumentWork {
  std::vector<tasks::Fact> facts;     // of the task, without their questions' tokens
  std::vector<RecallAnswer> answers;  // of facts[i]

  int correct() const;
};

// What happens in a run, as it happens.
struct RecallProgress {
  int document_done = 0, document_tokens = 0;
  const tasks::Fact* fact = nullptr;  // set with `answer` when an answer is there; else the document is being read
  const RecallAnswer* answer = nullptr;
};
// False gives the run up.
using RecallCallback = FunctionRef<bool(const RecallProgress&)>;

// Reads the document once and asks for each fact greedily, every time from the document's end. The engine has the
// task's tokenizer. kCancelled when `progress` gave it up; else fails as OpenDocument.
Result<RecallReport> RunRecall(engine::Engine& engine, const tasks::RecallTask& task, RecallCallback progress);

}  // namespace nosa::eval
