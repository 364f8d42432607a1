#include <bit>
#include <cmath>

#include "apps/op_timer.h"
#include "base/rng.h"
#include "ops/sequence_attention_grad.h"
#include "ops/sequence_select.h"

namespace nosa::apps {
namespace {

// Rows of a random walk: a query's channels keep most of what they were a token before.
Buffer WalkBuffer(int64_t rows, int64_t width, uint64_t stream) {
  constexpr float kKeep = 0.98f, kMove = 0.2f;  // so that the variance stays 1
  const Philox rng(3, stream);
  std::vector<float> state(static_cast<size_t>(width));
  Buffer buffer = Buffer::Host(static_cast<size_t>(rows * width) * sizeof(BFloat16));
  for (int64_t r = 0; r < rows; ++r) {
    for (int64_t i = 0; i < width; ++i) {
      float& x = state[static_cast<size_t>(i)];
      // The noise repeats after a while; a walk through it does not.
      x = (r == 0 ? 0 : kKeep * x) +
          (r == 0 ? 1.0f : kMove) * rng.Normal(static_cast<uint64_t>((r * width + i) % 65521));
      StoreFloat(buffer.data(), DType::kBF16, static_cast<size_t>(r * width + i), x);
    }
  }
  return buffer;
}

class SequenceBench : private OpTimer {
 public:
  SequenceBench(ops::Backend& backend, const SequenceOpSizes& sizes) : OpTimer(backend, sizes.repeats), sizes_(sizes) {}

  Result<std::vector<DeviceOpRow>> Run() {
    for (const int tokens : sizes_.tokens) NOSA_RETURN_IF_ERROR(Length(tokens));
    return std::move(rows_);
  }

 private:
  Status Length(int tokens);

  Result<Buffer> Space(int64_t elements, DType dtype) {
    return backend_.Allocate(static_cast<size_t>(elements) * DTypeBytes(dtype), backend_.compute_memory());
  }

  SequenceOpSizes sizes_;
};

Status SequenceBench::Length(int tokens) {
  const int64_t sequences = std::max(1, sizes_.batch_tokens / tokens), rows = sequences * tokens;
  const int64_t heads = sizes_.heads, kv_heads = sizes_.kv_heads, dim = sizes_.dim;
  const int64_t windows = sequences * ops::WindowsOf(tokens, sizes_.window, sizes_.stride);
  const int64_t words = ops::MaskWords(tokens, sizes_.block), blocks = ops::BlocksOf(tokens, sizes_.block);
  const Shape of_queries = {rows, heads, dim}, of_keys = {rows, kv_heads, dim}, of_masks = {rows, kv_heads, words};
  const auto random = [&](int64_t n, DType dtype, uint64_t stream, float scale) {
    return ToDevice(RandomBuffer(dtype, n, stream, scale));
  };
  NOSA_ASSIGN_OR_RETURN(const Buffer q, ToDevice(WalkBuffer(rows, heads * dim, 1)));
  NOSA_ASSIGN_OR_RETURN(const Buffer k, random(rows * kv_heads * dim, DType::kBF16, 2, 1.0f));
  NOSA_ASSIGN_OR_RETURN(const Buffer v, random(rows * kv_heads * dim, DType::kBF16, 3, 1.0f));
  NOSA_ASSIGN_OR_RETURN(const Buffer s, random(rows * kv_heads, DType::kF32, 4, 0.5f));
  NOSA_ASSIGN_OR_RETURN(const Buffer keys, random(windows * kv_heads * dim, DType::kBF16, 5, 0.4f));
  NOSA_ASSIGN_OR_RETURN(const Buffer sigma, random(windows * kv_heads, DType::kF32, 6, 0.1f));
  NOSA_ASSIGN_OR_RETURN(const Buffer dout, random(rows * heads * dim, DType::kBF16, 7, 1.0f));
  NOSA_ASSIGN_OR_RETURN(const Buffer out, Space(rows * heads * dim, DType::kBF16));
  NOSA_ASSIGN_OR_RETURN(const Buffer lse, Space(rows * heads, DType::kF32));
  NOSA_ASSIGN_OR_RETURN(const Buffer masks, Space(rows * kv_heads * words, DType::kI64));
  NOSA_ASSIGN_OR_RETURN(const Buffer dq, Space(rows * heads * dim, DType::kBF16));
  NOSA_ASSIGN_OR_RETURN(const Buffer dk, Space(rows * kv_heads * dim, DType::kBF16));
  NOSA_ASSIGN_OR_RETURN(const Buffer dv, Space(rows * kv_heads * dim, DType::kBF16));
  NOSA_ASSIGN_OR_RETURN(const Buffer ds, Space(rows * kv_heads, DType::kF32));
  const int forced = 1 + sizes_.local_blocks;
  const ops::SequenceSelectArgs select = {.q = q.View(DType::kBF16, of_queries),
                                          .keys = keys.View(DType::kBF16, {windows, kv_heads, dim}),
                                          .sigma = sigma.View(DType::kF32, {windows, kv_heads}),
                                          .rule = {.init_blocks = 1,
                                                   .local_blocks = sizes_.local_blocks,
                                                   .query_blocks = forced + sizes_.query_blocks,
                                                   .topk = sizes_.selected},
                                          .tokens = tokens,
                                          .kv_heads = sizes_.kv_heads,
                                          .block_size = sizes_.block,
                                          .kernel_size = sizes_.window,
                                          .kernel_stride = sizes_.stride,
                                          .scale = 1.0f / std::sqrt(static_cast<float>(dim)),
                                          .masks = masks.View(DType::kI64, of_masks)};
  const ops::SequenceAttentionArgs forward = {.q = select.q,
                                              .k = k.View(DType::kBF16, of_keys),
                                              .v = v.View(DType::kBF16, of_keys),
                                              .s = s.View(DType::kF32, {rows, kv_heads}),
                                              .masks = select.masks,
                                              .tokens = tokens,
                                              .block_size = sizes_.block,
                                              .scale = select.scale,
                                              .out = out.View(DType::kBF16, of_queries),
                                              .lse = lse.View(DType::kF32, {rows, heads})};
  const ops::SequenceAttentionGradArgs backward = {.forward = forward,
                                                   .dout = dout.View(DType::kBF16, of_queries),
                                                   .dq = dq.View(DType::kBF16, of_queries),
                                                   .dk = dk.View(DType::kBF16, of_keys),
                                                   .dv = dv.View(DType::kBF16, of_keys),
                                                   .ds = ds.View(DType::kF32, {rows, kv_heads})};
  const std::string size = fmt::format("{} x {} tokens", sequences, tokens);
  const ops::OpCost cost = ops::Cost(select);
  NOSA_RETURN_IF_ERROR(Time(fmt::format("sequence_select, {}, {} of {} blocks", size, sizes_.selected, blocks),
                            cost.bytes, cost.flops, [&] { ops::sequence_select(backend_, {}, select); }));
  for (const bool sparse : {true, false}) {
    NOSA_ASSIGN_OR_RETURN(Buffer host, ToHost(masks.data(), masks.size()));
    double read = 0;  // (query, KV head, token) triples
    for (int64_t i = 0; i < rows * kv_heads; ++i) {
      uint64_t* mask = host.as<uint64_t>() + i * words;
      const int64_t t = i / kv_heads % tokens, own = t / sizes_.block;
      for (int64_t b = 0; b <= own; ++b) {
        if (!sparse) mask[b / 64] |= uint64_t{1} << (b % 64);
        if (ops::MaskBit(mask, b))
          read += static_cast<double>(std::min<int64_t>(sizes_.block, t - b * sizes_.block + 1));
      }
    }
    backend_.Copy(masks.data(), host.data(), host.size(), {});
    backend_.Synchronize({});
    const double flops = 4 * read * static_cast<double>(heads / kv_heads * dim);
    const std::string which =
        fmt::format("{}, {} of {} blocks", size, sparse ? fmt::format("{}", sizes_.selected) : "all", blocks);
    NOSA_RETURN_IF_ERROR(Time("sequence_attention, " + which, ops::Cost(forward).bytes, flops,
                              [&] { ops::sequence_attention(backend_, {}, forward); }));
    NOSA_RETURN_IF_ERROR(Time("sequence_attention_grad, " + which, ops::Cost(backward).bytes, 2.5 * flops,
                              [&] { ops::sequence_attention_grad(backend_, {}, backward); }));
  }
  return Status::Ok();
}

}  // namespace

Result<std::vector<DeviceOpRow>> BenchSequenceOps(ops::Backend& backend, const SequenceOpSizes& sizes) {
  return SequenceBench(backend, sizes).Run();
}

}  // namespace nosa::apps
