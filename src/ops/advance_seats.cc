#include "ops/advance_seats.h"

#include "base/check.h"

namespace nosa::ops {

void Check(const AdvanceSeatsArgs& args) {
  NOSA_CHECK(args.seats >= 0 && args.step != nullptr && (args.seats == 0 || args.positions != nullptr),
             "advance_seats: {} seats without memory", args.seats);
}

OpCost Cost(const AdvanceSeatsArgs& args) { return {.bytes = args.seats * 8.0, .flops = 0}; }

}  // namespace nosa::ops
