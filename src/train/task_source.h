// Synthetic tasks (src/tasks) as sequences to learn from.
#pragma once

#include "tasks/layout.h"
#include "train/text_source.h"

namespace nosa::train {

struct TaskOptions {
  std::string name;  // of tasks.def
  uint64_t seed = 0;
  int questions = 8;  // of a sequence at most, fewer where a task has fewer or the sequence is short
  // Examples of a sequence at most, a power of two: a sequence is one example or several shorter ones, as its number
  // draws. A model that has only met questions at the end of a length answers them nowhere else.
  int parts = 1;
  tasks::TargetWeights weights;
};

// Sequences of that task, hidden in `text`, which it shares; those never learnt from hide in the text held out, when
// there is enough of it. kInvalidArgument lists the tasks.
Result<std::unique_ptr<const SequenceSource>> MakeTaskSource(std::shared_ptr<const text::Tokenizer> tokenizer,
                                                             std::shared_ptr<const TokenText> text,
                                                             const TaskOptions& options);

}  // namespace nosa::train
