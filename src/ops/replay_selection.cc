#include "ops/replay_selection.h"

#include "ops/check_seats.h"

namespace nosa::ops {

void Check(const ReplaySelectionArgs& args) {
  CheckSelection(args.selection, "replay_selection");
  const SelectionTrace& trace = args.trace;
  NOSA_CHECK(trace.picks != nullptr && trace.rows > 0 && trace.steps > 0 && trace.lanes > 0 && trace.width >= 0,
             "replay_selection: a trace of {} rows, {} steps, {} lanes", trace.rows, trace.steps, trace.lanes);
  NOSA_CHECK(args.lane >= 0 && args.lane + args.kv_heads <= trace.lanes,
             "replay_selection: lanes {} to {} of a trace of {}", args.lane, args.lane + args.kv_heads, trace.lanes);
  NOSA_CHECK(args.selection.width >= args.init_blocks + args.local_blocks + 1 + trace.width,
             "replay_selection: {} picks and {} forced blocks, there is room for {}", trace.width,
             args.init_blocks + args.local_blocks + 1, args.selection.width);
  NOSA_CHECK(args.step != nullptr && args.block_size > 0 && args.stagger >= 0, "replay_selection: no step");
}

OpCost Cost(const ReplaySelectionArgs& args) {
  const double lanes = static_cast<double>(args.positions.size()) * args.kv_heads;
  return {.bytes = lanes * (args.trace.width * 2.0 + args.selection.width * 4.0), .flops = 0};
}

}  // namespace nosa::ops
