// Examples as a trainer reads them.
#pragma once

#include <cstdint>
#include <vector>

#include "tasks/task.h"

namespace nosa::tasks {

// How much each target counts, by what it is part of.
struct TargetWeights {
  float document = 1;
  float question = 1;
  float answer = 1;
};

// n targets: weight[t] and answer[t] are of the prediction of ids[t + 1] from ids[0, t].
struct TrainingRow {
  std::vector<TokenId> ids;     // [n + 1]
  std::vector<float> weight;    // [n]
  std::vector<uint8_t> answer;  // [n] 1: the target is part of an answer
};

// The document, then each question and its answer one after the other: example.total() tokens, so that n + 1 of them
// are ExampleOptions::tokens.
TrainingRow LayOut(const Example& example, const TargetWeights& weights = {});

}  // namespace nosa::tasks
