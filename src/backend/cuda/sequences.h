// What the kernels of the ops on whole sequences share: their arguments as plain data, and their launches. Private to
// these ops.
#pragma once

#include "backend/cuda/context.h"
#include "ops/sequence_attention_grad.h"
#include "ops/sequence_select.h"

namespace nosa::cuda {

// SequenceAttentionArgs and its gradients as kernels take them.
struct SequencePlan {
  const void *q, *k, *v;  // [rows, heads, dim], [rows, kv_heads, dim] twice
  const float* s;         // [rows, kv_heads]; null: no bias
  const uint64_t* masks;  // [rows, kv_heads, words]
  void* out;              // [rows, heads, dim]
  float* lse;             // [rows, heads]
  // Backward only.
  const void* dout;
  void *dq, *dk, *dv;
  float* ds;         // null without s
  float2* row_sums;  // [rows, heads]: lse in powers of two, and dout . out
  int sequences, tokens, heads, kv_heads, group, dim, block_size, words;
  float scale;

  __host__ __device__ int64_t rows() const { return static_cast<int64_t>(sequences) * tokens; }
  __host__ __device__ const uint64_t* Mask(int64_t row, int kv_head) const {
    return masks + (row * kv_heads + kv_head) * words;
  }
};
SequencePlan MakeSequencePlan(const ops::SequenceAttentionArgs& args);

// On tensor cores; false when the shapes are not theirs. Backward, `row_sums` are there.
bool SequenceAttentionOnTensorCores(Context& context, ops::Stream stream, const SequencePlan& plan, DType dtype);
bool SequenceGradOnTensorCores(Context& context, ops::Stream stream, const SequencePlan& plan, DType dtype,
                               char* scratch);
// Bytes of `scratch` for it.
size_t SequenceGradScratch(const SequencePlan& plan);

// Whether these shapes have kernels: 16 (token, head) pairs are whole tokens of one KV head.
inline bool TensorCoresTakeSequences(int group, int dim, int block_size, DType dtype) {
  return dtype == DType::kBF16 && block_size == 64 && (dim == 64 || dim == 128) && group <= 16 && 16 % group == 0;
}

// SequenceSelectArgs as kernels take them.
struct SequenceScorePlan {
  const void *q, *keys;  // [rows, heads, dim], [windows of all, kv_heads, dim]
  float* scores;         // [chunk rows, kv_heads, blocks]: Q of the rows [row0, row0 + chunk_rows)
  int64_t row0, chunk_rows;
  int tokens, heads, kv_heads, group, dim, windows, blocks;  // windows and blocks of a sequence
  int windows_per_block, kernel_size, kernel_stride;
  float scale;

  // Windows that token t sees.
  __host__ __device__ int Visible(int t) const {
    return t + 1 < kernel_size ? 0 : min((t + 1 - kernel_size) / kernel_stride + 1, windows);
  }
};
bool SequenceScoresOnTensorCores(Context& context, ops::Stream stream, const SequenceScorePlan& plan, DType dtype,
                                 int block_size);

}  // namespace nosa::cuda
