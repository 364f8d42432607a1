#include "ops/assign_slots.h"

#include "ops/check_seats.h"

namespace nosa::ops {

void Check(const AssignSlotsArgs& args) {
  CheckSelection(args.selection, "assign_slots");
  CheckFrame(args.frame, "assign_slots");
  CheckLanes(args.lanes, "assign_slots");
  NOSA_CHECK(args.positions.size() == static_cast<size_t>(args.lanes.seats), "assign_slots: {} seats, {} positions",
             args.lanes.seats, args.positions.size());
  NOSA_CHECK(args.lanes.slots == 0 || args.lanes.slots >= args.selection.width - 1,
             "assign_slots: a selection of {} blocks beside the tail needs as many slots, found {}",
             args.selection.width - 1, args.lanes.slots);
  NOSA_CHECK(args.step && args.addresses && args.arrivals && args.copies && args.copy_count,
             "assign_slots: a result has no memory");
}

OpCost Cost(const AssignSlotsArgs& args) {
  const double lanes = static_cast<double>(args.lanes.seats) * args.lanes.kv_heads;
  return {.bytes = lanes * (args.lanes.slots * 12.0 + args.selection.width * 16.0), .flops = lanes * args.lanes.slots};
}

}  // namespace nosa::ops
