#include "train/method.h"

#include "attention/selector.h"

namespace nosa::train {

Result<Method> MakeMethod(std::string_view name, const schema::ModelConfig& config) {
  const schema::SparseConfig& sparse = config.sparse;
  const attention::AttentionConfig numbers = {.layers = config.num_layers,
                                              .heads = config.num_heads,
                                              .kv_heads = config.num_kv_heads,
                                              .head_dim = config.head_dim,
                                              .block_size = sparse.block_size,
                                              .kernel_size = sparse.kernel_size,
                                              .kernel_stride = sparse.kernel_stride,
                                              .init_blocks = sparse.init_blocks,
                                              .local_blocks = sparse.local_blocks(),
                                              .query_topk = sparse.query_topk,
                                              .topk = sparse.topk,
                                              .has_importance = true};
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
