#include "ops/select_blocks.h"

#include <algorithm>

#include "ops/check_seats.h"
#include "ops/check_views.h"

namespace nosa::ops {

int SelectionWidth(const SelectionRule& rule, int max_blocks) {
  if (rule.every_block) return max_blocks;
  const int forced = rule.init_blocks + rule.local_blocks + 1;
  return std::min(max_blocks, std::max({forced, rule.query_blocks, rule.topk}));
}

void Check(const SelectBlocksArgs& args) {
  CheckSelection(args.selection, "select_blocks");
  const SelectionRule& rule = args.rule;
  NOSA_CHECK(rule.init_blocks >= 0 && rule.local_blocks >= 0 && rule.query_blocks >= 0 && rule.topk >= 0,
             "select_blocks: a rule of {} first, {} local, {} and {} blocks", rule.init_blocks, rule.local_blocks,
             rule.query_blocks, rule.topk);
  NOSA_CHECK(args.selection.width >= SelectionWidth(rule, args.max_blocks),
             "select_blocks: the rule selects up to {} blocks, there is room for {}",
             SelectionWidth(rule, args.max_blocks), args.selection.width);
  NOSA_CHECK(args.kv_heads > 0 && args.q.shape().rank() == 3 && args.q.dim(1) % args.kv_heads == 0,
             "select_blocks: expected q [R, H, D] with a multiple of {} heads, found {}", args.kv_heads,
             args.q.shape().ToString());
  NOSA_CHECK(args.positions.size() == static_cast<size_t>(args.q.rows()) &&
                 args.states.size() == args.positions.size() * static_cast<size_t>(args.kv_heads),
             "select_blocks: {} rows with {} positions and {} states", args.q.rows(), args.positions.size(),
             args.states.size());
  NOSA_CHECK(args.kernel_stride > 0 && args.block_size % args.kernel_stride == 0 && args.kernel_size > 0 &&
                 args.kernel_size % args.kernel_stride == 0,
             "select_blocks: blocks of {}, windows of {}, stride {}", args.block_size, args.kernel_size,
             args.kernel_stride);
  const SelectionTrace& trace = args.replay.trace;
  if (trace.picks == nullptr) return;
  NOSA_CHECK(!rule.every_block, "select_blocks: a trace in place of every block");
  NOSA_CHECK(trace.rows > 0 && trace.steps > 0 && trace.lanes > 0 && trace.width >= 0,
             "select_blocks: a trace of {} rows, {} steps, {} lanes", trace.rows, trace.steps, trace.lanes);
  NOSA_CHECK(args.replay.lane >= 0 && args.replay.lane + args.kv_heads <= trace.lanes,
             "select_blocks: lanes {} to {} of a trace of {}", args.replay.lane, args.replay.lane + args.kv_heads,
             trace.lanes);
  const int forced = rule.init_blocks + rule.local_blocks + 1;
  NOSA_CHECK(args.selection.width >= std::min(args.max_blocks, forced + trace.width),
             "select_blocks: {} picks and {} forced blocks, there is room for {}", trace.width, forced,
             args.selection.width);
  NOSA_CHECK(args.replay.step != nullptr && args.replay.stagger >= 0, "select_blocks: a trace and no step");
}

OpCost Cost(const SelectBlocksArgs& args) {
  if (args.rule.every_block) return {};
  const double windows = static_cast<double>(args.max_blocks) * args.block_size / args.kernel_stride;
  const double lanes = static_cast<double>(args.q.rows()) * args.kv_heads, dim = static_cast<double>(args.q.dim(2));
  OpCost cost;
  if (args.rule.query_blocks > 0) {
    cost.bytes += lanes * windows * dim * static_cast<double>(DTypeBytes(args.summary_dtype));
    cost.flops += 2 * static_cast<double>(args.q.rows()) * static_cast<double>(args.q.dim(1)) * windows * dim;
  }
  if (args.rule.topk > 0) cost.bytes += lanes * windows * 4;
  return cost;
}

}  // namespace nosa::ops
