// How tokens attend while a model is learnt: a selector of the engine, as plain data.
#pragma once

#include <algorithm>
#include <string>
#include <string_view>

#include "base/status.h"
#include "ops/select_blocks.h"
#include "schema/model_config.h"

namespace nosa::train {

struct Method {
  std::string name;  // of selectors.def
  ops::SelectionRule rule;
  bool bias = false;  // s is added to the logits
  // Tokens, as in docs/nosa.md.
  int block_size = 64, kernel_size = 32, kernel_stride = 16;

  bool needs_importance() const { return bias || rule.topk > 0; }
  // Blocks that a query reads at most, when not every block is.
  int most_blocks() const { return std::max({rule.init_blocks + rule.local_blocks + 1, rule.query_blocks, rule.topk}); }
  // Every token before the query is read, and nothing is added: the plain Llama layer.
  bool dense() const { return rule.every_block && !bias; }
};

// By a name of selectors.def, with the sparse settings of `config`. kInvalidArgument for a name that is none;
// kUnimplemented for a selector without a rule, which no op can follow.
Result<Method> MakeMethod(std::string_view name, const schema::ModelConfig& config);

}  // namespace nosa::train
