#include "ops/advance_seats.h"

#include "ops/reference/reference_backend.h"

namespace nosa::ops::reference {

void advance_seats(Backend&, Stream, const AdvanceSeatsArgs& args) {
  for (int r = 0; r < args.seats; ++r) {
    if (args.positions[r] >= 0) ++args.positions[r];
  }
  ++*args.step;
}

}  // namespace nosa::ops::reference
