// A text with a known answer, made from a seed: what a model learns and is measured on. The seam where tasks are added
// (docs/tasks.md): one file in kinds/, one line in tasks.def.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "tasks/filler.h"

namespace nosa::tasks {

struct Question {
  std::vector<TokenId> ids;     // what follows the document; begins with a line break
  std::vector<TokenId> answer;  // what a model is to go on with; its last character ends it, and is nowhere else in it
  std::vector<TokenPos> evidence;  // first tokens of the document's lines that the answer is in, rising
  double depth = 0;                // the first of them as a share of the document
};

struct Example {
  std::vector<TokenId> document;
  std::vector<Question> questions;  // about different things; each can be asked alone, or after others

  // Of the document and the longest question with its answer.
  int longest() const;
  // Of the document and all questions with their answers.
  int total() const;
};

struct ExampleOptions {
  int tokens = 4096;  // of the document and all questions with their answers: Example::total()
  int questions = 1;  // at least 1; a task that has fewer answers asks fewer
  uint64_t seed = 0;
  // Where the first line of each question's evidence goes, as shares of the document in [0, 1], one a question. Empty:
  // drawn, one from each of as many equal parts, in a random order. A task whose evidence is all over the document
  // does not look at them.
  std::vector<double> depths = {};
};

// Immutable, thread-safe.
class Task {
 public:
  virtual ~Task() = default;
  // How many questions an example can have.
  virtual int max_questions() const = 0;
  // A pure function of its arguments. The example has exactly options.tokens tokens. kInvalidArgument, in a sentence
  // with both sides: options out of range, too few tokens for what is planted, a filler that is too short. O(tokens),
  // with no more text through the tokenizer than what is planted.
  virtual Result<Example> Make(const Filler& filler, const ExampleOptions& options) const = 0;
};

// By the names of tasks.def; kInvalidArgument lists them.
Result<std::unique_ptr<Task>> MakeTask(std::string_view name);

struct TaskInfo {
  std::string_view name;
  std::string_view help;  // what it asks for
};
// In the order of tasks.def.
const std::vector<TaskInfo>& TaskInfos();

}  // namespace nosa::tasks
