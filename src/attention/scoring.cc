#include "attention/scoring.h"

#include "ops/block_scores.h"
#include "ops/window_scores.h"

namespace nosa::attention {
namespace {

// A prompt's scores get longer with every chunk. On a device memory is taken anew by a call that waits for all work, so
// there it is taken with room for chunks to come.
void GrowScores(ops::Backend& backend, size_t bytes, Buffer* buffer) {
  const bool device = !HostAddressable(backend.compute_memory());
  if (buffer->size() < bytes) ops::Grow(backend, device ? bytes + bytes / 2 : bytes, backend.compute_memory(), buffer);
}

// Sizes the batch for its rows and points each entry at its scores and its mask.
void Prepare(const AttentionConfig& config, const SelectInput& input, int begin, int end, Selection* selection,
             ScoreBatch* batch) {
  int most = 0;
  for (int r = begin; r < end; ++r)
    most = std::max(most, VisibleBlocks(config, input.positions[static_cast<size_t>(r)]));
  const size_t entries = static_cast<size_t>(end - begin) * static_cast<size_t>(config.kv_heads);
  GrowScores(*input.backend, entries * static_cast<size_t>(most) * sizeof(float), &input.scratch->block_scores);
  const float* scores = input.scratch->block_scores.as<float>();
  batch->rows.resize(entries);
  size_t entry = 0;
  for (int r = begin; r < end; ++r) {
    for (int g = 0; g < config.kv_heads; ++g, ++entry) {
      batch->rows[entry] = {scores + entry * static_cast<size_t>(most), selection->Mask(r, g).data(),
                            VisibleBlocks(config, input.positions[static_cast<size_t>(r)])};
    }
  }
}

int VisibleWindows(const AttentionConfig& config, const SelectInput& input, int row) {
  return config.WindowsOf(input.positions[static_cast<size_t>(row)] + 1);
}

// `values(row, g)` gives the window scores the block scores are the maxima of.
template <typename Values>
void PoolToBlocks(const AttentionConfig& config, const SelectInput& input, int begin, int end, ScoreBatch* batch,
                  Values&& values) {
  std::vector<ops::BlockScoresArgs::Row> rows(batch->rows.size());
  size_t entry = 0;
  for (int r = begin; r < end; ++r) {
    for (int g = 0; g < config.kv_heads; ++g, ++entry) {
      const ops::TopkBlocksArgs::Row& out = batch->rows[entry];
      rows[entry] = {values(r, g), const_cast<float*>(out.scores), VisibleWindows(config, input, r), out.blocks};
    }
  }
  ops::block_scores(*input.backend, input.stream, {.rows = rows, .windows_per_block = config.windows_per_block()});
}

}  // namespace

void ForceBlocks(const AttentionConfig& config, const SelectInput& input, Selection* selection) {
  for (int r = 0; r < static_cast<int>(input.positions.size()); ++r) {
    const int own = input.positions[static_cast<size_t>(r)] / config.block_size;
    for (int g = 0; g < config.kv_heads; ++g) {
      const std::span<uint64_t> mask = selection->Mask(r, g);
      SetBits(mask, 0, std::min(config.init_blocks, own + 1));
      SetBits(mask, std::max(0, own - config.local_blocks), own + 1);
    }
  }
}

void QueryScores(const AttentionConfig& config, const SelectInput& input, int begin, int end, Selection* selection,
                 ScoreBatch* batch) {
  Prepare(config, input, begin, end, selection, batch);
  std::vector<ops::WindowScoresArgs::Row> rows(static_cast<size_t>(end - begin));
  int most = 0;
  for (int r = begin; r < end; ++r) {
    rows[static_cast<size_t>(r - begin)] = {VisibleWindows(config, input, r),
                                            input.state_begin[static_cast<size_t>(r)]};
    most = std::max(most, VisibleWindows(config, input, r));
  }
  const int64_t width = static_cast<int64_t>(RoundUp(static_cast<uint64_t>(std::max(most, 1)), ops::kWindowTile));
  const Shape shape = {end - begin, config.kv_heads, width};
  GrowScores(*input.backend, static_cast<size_t>(shape.elements()) * sizeof(float), &input.scratch->window_scores);
  const TensorView p_view(input.scratch->window_scores.data(), DType::kF32, shape);
  ops::window_scores(*input.backend, input.stream,
                     {.q = input.q.Rows(begin, end - begin),
                      .rows = rows,
                      .states = input.states,
                      .summary_dtype = config.kv_dtype,
                      .scale = config.scale(),
                      .kv_heads = config.kv_heads,
                      .p = p_view});
  PoolToBlocks(config, input, begin, end, batch,
               [&](int r, int g) { return p_view.row<float>(r - begin) + g * width; });
}

void ImportanceScores(const AttentionConfig& config, const SelectInput& input, int begin, int end, Selection* selection,
                      ScoreBatch* batch) {
  Prepare(config, input, begin, end, selection, batch);
  PoolToBlocks(config, input, begin, end, batch, [&](int r, int g) {
    return input.states[static_cast<size_t>(input.state_begin[static_cast<size_t>(r)] + g)].sigma;
  });
}

void FillTopK(const SelectInput& input, const ScoreBatch& batch, int k) {
  ops::topk_blocks(*input.backend, input.stream, {.rows = batch.rows, .k = k});
}

}  // namespace nosa::attention
