#include "train/method.h"

#include "attention/selector.h"
#include "model/attention_config.h"

namespace nosa::train {

Result<Method> MakeMethod(std::string_view name, const schema::ModelConfig& config) {
  const schema::SparseConfig& sparse = config.sparse;
  // A checkpoint that is to learn importance need not have it yet.
  attention::AttentionConfig numbers = model::AttentionConfigOf(config, config.dtype);
  numbers.has_importance = true;
  NOSA_ASSIGN_OR_RETURN(const auto selector, attention::MakeSelector(name, numbers));
  const std::optional<ops::SelectionRule> rule = selector->rule();
  if (!rule) return Unimplemented("the selector {} has no rule that training could follow", name);
  return Method{.name = std::string(name),
                .rule = *rule,
                .bias = selector->traits().bias,
                .block_size = sparse.block_size,
                .kernel_size = sparse.kernel_size,
                .kernel_stride = sparse.kernel_stride};
}

}  // namespace nosa::train
