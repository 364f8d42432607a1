#include "ops/select_blocks.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "ops/block_scores.h"
#include "ops/reference/reference_backend.h"
#include "ops/topk_blocks.h"
#include "ops/window_scores.h"

namespace nosa::ops::reference {
namespace {

// Window scores of one query, [G, width] f32.
std::vector<float> WindowScores(Backend& backend, const SelectBlocksArgs& args, int row, int windows, int64_t width) {
  std::vector<float> p(static_cast<size_t>(args.kv_heads) * static_cast<size_t>(width));
  const WindowScoresArgs::Row rows[] = {{windows, row * args.kv_heads}};
  reference::window_scores(backend, {},
                           {.q = args.q.Rows(row, 1),
                            .rows = rows,
                            .states = args.states,
                            .summary_dtype = args.summary_dtype,
                            .scale = args.scale,
                            .kv_heads = args.kv_heads,
                            .p = TensorView(p.data(), DType::kF32, {1, args.kv_heads, width})});
  return p;
}

// Fills `mask` up to `members` by the block scores of `values` [windows].
void Fill(Backend& backend, const SelectBlocksArgs& args, const float* values, int windows, int blocks, int members,
          std::vector<uint64_t>* mask) {
  std::vector<float> scores(static_cast<size_t>(blocks));
  const BlockScoresArgs::Row pooled = {values, scores.data(), windows, blocks};
  reference::block_scores(backend, {},
                          {.rows = {&pooled, 1}, .windows_per_block = args.block_size / args.kernel_stride});
  const TopkBlocksArgs::Row row = {scores.data(), mask->data(), blocks};
  reference::topk_blocks(backend, {}, {.rows = {&row, 1}, .k = members});
}

// The forced blocks of `mask`, and the picks.
void Replay(const SelectBlocksArgs& args, int row, int g, int own, std::vector<uint64_t>* mask) {
  const SelectionTrace& trace = args.replay.trace;
  const int recent = own - args.rule.local_blocks;
  const int64_t at = (static_cast<int64_t>(row % trace.rows) * trace.steps +
                      (*args.replay.step + args.replay.stagger * row) % trace.steps) *
                         trace.lanes +
                     args.replay.lane + g;
  for (int i = 0; i < trace.width; ++i) {
    const int b = args.rule.init_blocks + trace.picks[at * trace.width + i];
    if (b < recent) (*mask)[static_cast<size_t>(b / 64)] |= uint64_t{1} << (b % 64);
  }
}

}  // namespace

void select_blocks(Backend& backend, Stream, const SelectBlocksArgs& args) {
  const SelectionRule& rule = args.rule;
  const StepSelection& out = args.selection;
  for (int r = 0; r < static_cast<int>(args.positions.size()); ++r) {
    const int32_t pos = args.positions[static_cast<size_t>(r)];
    for (int g = 0; g < args.kv_heads; ++g) out.counts[r * args.kv_heads + g] = 0;
    if (pos < 0) continue;
    const int own = pos / args.block_size, blocks = own + 1;
    const int windows = pos + 1 < args.kernel_size ? 0 : (pos + 1 - args.kernel_size) / args.kernel_stride + 1;
    const int64_t width = static_cast<int64_t>(RoundUp(static_cast<uint64_t>(std::max(windows, 1)), kWindowTile));
    std::vector<float> p;
    const bool selects = args.replay.trace.picks == nullptr && !rule.every_block;
    if (selects && rule.query_blocks > 0) p = WindowScores(backend, args, r, windows, width);
    for (int g = 0; g < args.kv_heads; ++g) {
      const int lane = r * args.kv_heads + g;
      std::vector<uint64_t> mask(static_cast<size_t>(blocks + 63) / 64, 0);
      for (int b = 0; b < blocks; ++b) {
        const bool forced = rule.every_block || b < rule.init_blocks || b >= own - rule.local_blocks;
        if (forced) mask[static_cast<size_t>(b / 64)] |= uint64_t{1} << (b % 64);
      }
      if (args.replay.trace.picks != nullptr) {
        Replay(args, r, g, own, &mask);
      } else {
        if (!p.empty()) Fill(backend, args, p.data() + g * width, windows, blocks, rule.query_blocks, &mask);
        if (rule.topk > 0 && !rule.every_block) {
          const float* sigma = args.states[static_cast<size_t>(lane)].sigma;
          Fill(backend, args, sigma, windows, blocks, rule.topk, &mask);
        }
      }
      for (int b = 0; b < blocks; ++b) {
        if ((mask[static_cast<size_t>(b / 64)] >> (b % 64) & 1) != 0) {
          out.ids[lane * out.width + out.counts[lane]++] = b;
        }
      }
    }
  }
}

}  // namespace nosa::ops::reference
