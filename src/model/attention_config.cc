#include "model/attention_config.h"

namespace nosa::model {

attention::AttentionConfig AttentionConfigOf(const schema::ModelConfig& config, DType kv_dtype) {
  const schema::SparseConfig& sparse = config.sparse;
  return {.layers = config.num_layers,
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
          .has_importance = config.has_importance,
          .kv_dtype = kv_dtype};
}

}  // namespace nosa::model
