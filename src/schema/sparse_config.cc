#include "schema/config_parts.h"

namespace nosa::schema {
namespace {

// Bounds that keep query_blocks() and every product of two fields inside their types.
constexpr int64_t kMostTokens = 1 << 30;  // window_size
constexpr int64_t kMostBlockTokens = 1 << 16;
constexpr int64_t kMostBlocks = 1 << 20;

}  // namespace

Status SparseConfig::Validate() const {
  const std::pair<const char*, int> sizes[] = {{"block_size", block_size},       {"kernel_size", kernel_size},
                                               {"kernel_stride", kernel_stride}, {"init_blocks", init_blocks},
                                               {"window_size", window_size},     {"topk", topk},
                                               {"query_topk", query_topk}};
  for (const auto& [name, value] : sizes) {
    if (value <= 0) return InvalidArgument("expected {} above 0, found {}", name, value);
  }
  if (kernel_size % kernel_stride != 0) {
    return InvalidArgument("expected kernel_size a multiple of kernel_stride, found {} and {}", kernel_size,
                           kernel_stride);
  }
  if (block_size % kernel_stride != 0) {
    return InvalidArgument("expected block_size a multiple of kernel_stride, found {} and {}", block_size,
                           kernel_stride);
  }
  if (window_size % block_size != 0) {
    return InvalidArgument("expected window_size a multiple of block_size, found {} and {}", window_size, block_size);
  }
  // 64-bit: fields set by flags are not bounded by ParseSparse.
  const int64_t query = int64_t{init_blocks} + local_blocks() + query_topk;
  if (topk < query) {
    return InvalidArgument("expected topk at least {} (init_blocks {} + local blocks {} + query_topk {}), found {}",
                           query, init_blocks, local_blocks(), query_topk, topk);
  }
  return Status::Ok();
}

Result<SparseConfig> internal::ParseSparse(const Fields& config) {
  SparseConfig sparse;
  if (!config.Has("sparse_config")) return sparse;
  NOSA_ASSIGN_OR_RETURN(const Fields fields,
                        Fields::Of(config.At("sparse_config"), config.where() + ": sparse_config"));
  // `dense_len` (a length below which other engines skip the selection) is not read: up to topk blocks
  // the selection takes everything anyway, and beyond them it is the function the model was trained as.
  const struct {
    const char* key;
    int* field;
    int64_t most;
  } sizes[] = {{"block_size", &sparse.block_size, kMostBlockTokens},
               {"kernel_size", &sparse.kernel_size, kMostBlockTokens},
               {"kernel_stride", &sparse.kernel_stride, kMostBlockTokens},
               {"init_blocks", &sparse.init_blocks, kMostBlocks},
               {"window_size", &sparse.window_size, kMostTokens},
               {"topk", &sparse.topk, kMostBlocks},
               {"query_topk", &sparse.query_topk, kMostBlocks}};
  for (const auto& size : sizes) {
    NOSA_ASSIGN_OR_RETURN(const int64_t value, fields.IntOr(size.key, *size.field, 1, size.most));
    *size.field = static_cast<int>(value);
  }
  NOSA_ASSIGN_OR_RETURN(const bool use_nope, fields.BoolOr("use_nope", false));
  if (use_nope)
    return Unimplemented("{}: use_nope is true, scores of keys without RoPE are not implemented", fields.where());
  const Status fits = sparse.Validate();
  if (!fits.ok()) return fits.WithContext(fields.where());
  return sparse;
}

}  // namespace nosa::schema
