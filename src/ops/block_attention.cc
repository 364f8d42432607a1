#include "ops/block_attention.h"

#include <vector>

namespace nosa::ops {
namespace {

void CheckTile(const BlockAttentionArgs& args, const AttentionTile& tile) {
  const int64_t kv_heads = args.q.dim(1) / args.states.heads;
  NOSA_CHECK(tile.tokens >= 0 && tile.tokens <= args.block_size, "a tile of {} tokens, a block has {}", tile.tokens,
             args.block_size);
  NOSA_CHECK(tile.tokens == 0 || (tile.k != nullptr && tile.v != nullptr), "a tile of {} tokens has no {}", tile.tokens,
             tile.k ? "v" : "k");
  NOSA_CHECK(tile.kv_head >= 0 && tile.kv_head < kv_heads, "a tile of KV head {}, there are {}", tile.kv_head,
             kv_heads);
  if (!args.masks.empty()) {
    NOSA_CHECK(tile.ref_begin >= 0 && tile.ref_count >= 0 && tile.ref_begin + tile.ref_count <= args.q.dim(0),
               "a tile's rows are {} from {}, there are {}", tile.ref_count, tile.ref_begin, args.q.dim(0));
    NOSA_CHECK(tile.first_pos % args.block_size == 0 && tile.first_pos / args.block_size < 64 * args.mask_words,
               "a tile from position {} is no block of masks of {} words", tile.first_pos, args.mask_words);
    return;
  }
  NOSA_CHECK(tile.ref_begin >= 0 && tile.ref_count >= 0 &&
                 static_cast<size_t>(tile.ref_begin) + static_cast<size_t>(tile.ref_count) <= args.refs.size(),
             "a tile's refs are {} from {}, there are {}", tile.ref_count, tile.ref_begin, args.refs.size());
}

// Groups run side by side, so a state of two groups would be a race.
[[maybe_unused]] void CheckOwners(const BlockAttentionArgs& args) {
  if (!args.masks.empty()) return;  // they may lie where the host cannot read them
  std::vector<size_t> owner(static_cast<size_t>(args.states.count), args.groups.size());
  for (size_t group = 0; group + 1 < args.groups.size(); ++group) {
    for (int32_t t = args.groups[group]; t < args.groups[group + 1]; ++t) {
      const AttentionTile& tile = args.tiles[static_cast<size_t>(t)];
      for (const auto& ref :
           args.refs.subspan(static_cast<size_t>(tile.ref_begin), static_cast<size_t>(tile.ref_count))) {
        size_t& first = owner[static_cast<size_t>(ref.state)];
        if (first == args.groups.size()) first = group;
        NOSA_CHECK(first == group, "state {} is written by groups {} and {}", ref.state, first, group);
      }
    }
  }
}

}  // namespace

void Check(const BlockAttentionArgs& args) {
  NOSA_CHECK(args.q.shape().rank() == 3 && args.q.dtype() == DType::kF32, "expected q f32 [R, H, D], found {} {}",
             DTypeName(args.q.dtype()), args.q.shape().ToString());
  const int64_t rows = args.q.dim(0), heads = args.q.dim(1);
  NOSA_CHECK(args.states.heads > 0 && heads % args.states.heads == 0, "expected {} query heads as groups of {}", heads,
             args.states.heads);
  NOSA_CHECK(static_cast<int64_t>(args.positions.size()) == rows, "expected {} positions as q has rows, found {}", rows,
             args.positions.size());
  NOSA_CHECK(args.dtype == DType::kF32 || args.dtype == DType::kBF16, "expected a cache of f32 or bf16, found {}",
             DTypeName(args.dtype));
  NOSA_CHECK(args.block_size > 0, "expected tokens in a block, found {}", args.block_size);

  const size_t groups = args.groups.empty() ? 0 : args.groups.size() - 1;
  NOSA_CHECK(args.groups.empty()
                 ? args.tiles.empty()
                 : args.groups.front() == 0 && static_cast<size_t>(args.groups.back()) == args.tiles.size(),
             "{} groups do not cover {} tiles", groups, args.tiles.size());
  for (size_t i = 0; i < groups; ++i) {
    NOSA_CHECK(args.groups[i] <= args.groups[i + 1], "group {} begins at tile {}, the next at {}", i, args.groups[i],
               args.groups[i + 1]);
  }
  if (!args.masks.empty()) {
    const int64_t states = rows * (heads / args.states.heads);
    NOSA_CHECK(args.mask_words > 0 && static_cast<int64_t>(args.masks.size()) >= states * args.mask_words,
               "expected {} masks of {} words, found {} words", states, args.mask_words, args.masks.size());
    NOSA_CHECK(args.states.count >= states, "expected a state for each of {} masks, found {}", states,
               args.states.count);
  }
  for (const AttentionTile& tile : args.tiles) CheckTile(args, tile);
  for (const BlockAttentionArgs::Ref& ref : args.refs) {
    NOSA_CHECK(ref.row >= 0 && ref.row < rows, "a ref to row {} of {}", ref.row, rows);
    NOSA_CHECK(ref.state >= 0 && ref.state < args.states.count, "a ref to state {} of {}", ref.state,
               args.states.count);
  }
#ifndef NDEBUG
  CheckOwners(args);
#endif
}

// With masks: as if every row of a tile's range read it.
OpCost Cost(const BlockAttentionArgs& args) {
  const double width = static_cast<double>(args.q.dim(2)) + args.states.v_dim;
  OpCost cost;
  for (const AttentionTile& tile : args.tiles) {
    const double heads = static_cast<double>(tile.ref_count) * args.states.heads;
    cost.bytes += tile.tokens * (width * static_cast<double>(DTypeBytes(args.dtype)) + (tile.s ? 4 : 0));
    cost.bytes += heads * (static_cast<double>(args.q.dim(2)) + 2.0 * (args.states.v_dim + 2)) * 4;
    cost.flops += 2 * heads * tile.tokens * width;
  }
  return cost;
}

}  // namespace nosa::ops
