// The ops of device decode (ops/seats.h). On a CPU the host is where attention is computed, so the engine plans there,
// with disk reads in flight meanwhile; what these mean is all that is needed here: the same step can be run and
// compared without a device.
#include "backend/cpu/cpu_backend.h"
#include "ops/advance_seats.h"
#include "ops/append_token.h"
#include "ops/assign_slots.h"
#include "ops/copy_blocks.h"
#include "ops/reference/reference_backend.h"
#include "ops/seat_attention.h"
#include "ops/select_blocks.h"

namespace nosa::cpu {

#define NOSA_FROM_TWIN(name, Args)                                              \
  void name(ops::Backend& backend, ops::Stream stream, const ops::Args& args) { \
    ops::reference::name(backend, stream, args);                                \
  }
NOSA_FROM_TWIN(append_token, AppendTokenArgs)
NOSA_FROM_TWIN(select_blocks, SelectBlocksArgs)
NOSA_FROM_TWIN(assign_slots, AssignSlotsArgs)
NOSA_FROM_TWIN(copy_blocks, CopyBlocksArgs)
NOSA_FROM_TWIN(seat_attention, SeatAttentionArgs)
NOSA_FROM_TWIN(advance_seats, AdvanceSeatsArgs)
#undef NOSA_FROM_TWIN

}  // namespace nosa::cpu
