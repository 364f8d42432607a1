// Block scores for selectors, a batch of rows at a time, so that memory does not grow with rows times windows.
#pragma once

#include <algorithm>
#include <limits>
#include <vector>

#include "attention/selector.h"
#include "ops/topk_blocks.h"

namespace nosa::attention {

// Blocks a query at `pos` may see.
inline int VisibleBlocks(const AttentionConfig& config, int pos) { return pos / config.block_size + 1; }

// Sets the blocks every query reads: the first k_init, its own, and k_local before it.
void ForceBlocks(const AttentionConfig& config, const SelectInput& input, Selection* selection);

// Scores of rows [begin, end) of an input, as topk_blocks takes them: entry (r - begin) * G + g. They lie in the
// input's scratch, so there is one batch at a time.
struct ScoreBatch {
  std::vector<ops::TopkBlocksArgs::Row> rows;
};

// Q of docs/nosa.md: how well the query matches the compressed keys of each block.
void QueryScores(const AttentionConfig& config, const SelectInput& input, int begin, int end, Selection* selection,
                 ScoreBatch* batch);
// E of docs/nosa.md: the largest pooled importance of each block.
void ImportanceScores(const AttentionConfig& config, const SelectInput& input, int begin, int end, Selection* selection,
                      ScoreBatch* batch);

// Fills the masks of the batch up to k blocks by its scores.
void FillTopK(const SelectInput& input, const ScoreBatch& batch, int k);

// Rows whose scores are computed at once: on the host their window scores stay within a cache's reach; a device wants
// as much work in one call as a prompt chunk has.
inline int RowsOfBatch(const ops::Backend& backend) { return HostAddressable(backend.compute_memory()) ? 32 : 2048; }

// Calls f(begin, end) over the rows in such pieces. Rows that see no more than `k` blocks, of which a selector fills
// them up to k, get all of them without a look at scores.
template <typename F>
void ForEachRowBatch(const AttentionConfig& config, const SelectInput& input, int k, Selection* selection, F&& f) {
  const int step = RowsOfBatch(*input.backend), rows = static_cast<int>(input.positions.size());
  const auto visible = [&](int r) { return VisibleBlocks(config, input.positions[static_cast<size_t>(r)]); };
  for (int begin = 0; begin < rows;) {
    int end = begin;
    for (; end < rows && visible(end) <= k; ++end) {
      for (int g = 0; g < config.kv_heads; ++g) SetBits(selection->Mask(end, g), 0, visible(end));
    }
    begin = end;
    while (end < rows && end - begin < step && visible(end) > k) ++end;
    if (begin < end) f(begin, end);
    begin = end;
  }
}

}  // namespace nosa::attention
