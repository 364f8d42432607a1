#include "tasks/layout.h"

#include <span>

namespace nosa::tasks {

TrainingRow LayOut(const Example& example, const TargetWeights& weights) {
  TrainingRow row;
  const auto total = static_cast<size_t>(example.total());
  row.ids.reserve(total);
  row.weight.reserve(total);
  row.answer.reserve(total);
  const auto append = [&row](std::span<const TokenId> ids, float weight, uint8_t answer) {
    row.ids.insert(row.ids.end(), ids.begin(), ids.end());
    row.weight.insert(row.weight.end(), ids.size(), weight);
    row.answer.insert(row.answer.end(), ids.size(), answer);
  };
  append(example.document, weights.document, 0);
  for (const Question& question : example.questions) {
    append(question.ids, weights.question, 0);
    append(question.answer, weights.answer, 1);
  }
  // Nothing predicts the first token.
  row.weight.erase(row.weight.begin());
  row.answer.erase(row.answer.begin());
  return row;
}

}  // namespace nosa::tasks
