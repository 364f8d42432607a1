// nosa eval: quality as numbers.
#include "apps/command.h"

namespace nosa::apps {

void AddEvalPerplexity(Command command);  // eval_perplexity.cc
void AddEvalRecall(Command command);      // eval_recall.cc
void AddEvalTasks(Command command);       // eval_tasks.cc

void AddEval(Command command) {
  AddEvalPerplexity(command.Sub("ppl", "mean next-token loss of a text, by position"));
  AddEvalRecall(command.Sub("recall", "planted facts recalled, by length and depth"));
  AddEvalTasks(command.Sub("tasks", "questions about long texts answered, by task, length and depth"));
}

}  // namespace nosa::apps
