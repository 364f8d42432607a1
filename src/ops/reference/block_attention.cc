#include "ops/block_attention.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {
namespace {

struct Part {
  double max = -INFINITY;
  double sum = 0;
  std::vector<double> acc;  // [Dv]
};

// Attention of one query head to the first `visible` tokens of a block.
Part Attend(const BlockAttentionArgs& args, const AttentionTile& tile, const float* q, int32_t visible) {
  const int64_t dim = args.q.dim(2), v_dim = args.states.v_dim;
  std::vector<double> logits(static_cast<size_t>(visible));
  for (int64_t j = 0; j < visible; ++j) {
    double sum = 0;
    for (int64_t d = 0; d < dim; ++d) {
      sum += static_cast<double>(q[d]) *
             static_cast<double>(LoadFloat(tile.k, args.dtype, static_cast<size_t>(j * dim + d)));
    }
    logits[static_cast<size_t>(j)] =
        sum * static_cast<double>(args.scale) + (tile.s ? static_cast<double>(tile.s[j]) : 0.0);
  }
  Part part;
  // Rounded first, because the state keeps it so: acc and l must be relative to the stored maximum.
  part.max = static_cast<double>(static_cast<float>(*std::max_element(logits.begin(), logits.end())));
  part.acc.resize(static_cast<size_t>(v_dim), 0.0);
  for (int64_t j = 0; j < visible; ++j) {
    const double weight = std::exp(logits[static_cast<size_t>(j)] - part.max);
    part.sum += weight;
    for (int64_t d = 0; d < v_dim; ++d) {
      part.acc[static_cast<size_t>(d)] +=
          weight * static_cast<double>(LoadFloat(tile.v, args.dtype, static_cast<size_t>(j * v_dim + d)));
    }
  }
  return part;
}

void MergeInto(const PartialStates& states, int64_t i, const Part& part) {
  const double old = static_cast<double>(states.m[i]);
  const double max = std::max(old, part.max);
  const double ours = std::exp(old - max), theirs = std::exp(part.max - max);
  states.m[i] = static_cast<float>(max);
  states.l[i] = static_cast<float>(static_cast<double>(states.l[i]) * ours + part.sum * theirs);
  for (int64_t d = 0; d < states.v_dim; ++d) {
    float& acc = states.acc[i * states.v_dim + d];
    const double added = part.acc[static_cast<size_t>(d)] * theirs;
    acc = static_cast<float>(old == -INFINITY ? added : static_cast<double>(acc) * ours + added);
  }
}

}  // namespace

void block_attention(Backend&, Stream, const BlockAttentionArgs& args) {
  const int64_t group = args.states.heads, dim = args.q.dim(2);
  for (const AttentionTile& tile : args.tiles) {
    for (int32_t i = 0; i < tile.ref_count; ++i) {
      BlockAttentionArgs::Ref ref;
      if (!ReaderOf(args, tile, i, &ref)) continue;
      const int32_t visible = std::min(tile.tokens, args.positions[static_cast<size_t>(ref.row)] - tile.first_pos + 1);
      if (visible <= 0) continue;
      for (int64_t h = 0; h < group; ++h) {
        const float* q = args.q.row<float>(ref.row) + (tile.kv_head * group + h) * dim;
        MergeInto(args.states, ref.state * group + h, Attend(args, tile, q, visible));
      }
    }
  }
}

}  // namespace nosa::ops::reference
