// How much of a device's memory a decode step takes for cached blocks: the most that helps, within a hard bound.
#pragma once

#include <cstdint>
#include <optional>

#include "model/step.h"

namespace nosa::model {

// Device memory that decode steps may take.
struct StepMemory {
  uint64_t available = UINT64_MAX;   // for everything that DecodeStep::DeviceBytes counts
  std::optional<uint64_t> kv_bytes;  // for slots and what says what is in them (SeatStore::DeviceBytes); never passed
};

// The slots per lane for a step of `options`, whose own are not looked at. All blocks of the sequences when they fit;
// else as many as the bound has room for, without one at most kMostSlack times the blocks a step reads. With memory
// that the host addresses and no bound: none, blocks are read where they are. kFailedPrecondition when the selector has
// no rule, so that there is no such step; kResourceExhausted says what would fit: the memory that is missing, and how
// many seats there is room for.
Result<int> ChooseSlots(const Model& model, const DecodeStepOptions& options, const StepMemory& memory,
                        const ops::Backend& backend);

// The most seats, at most options.seats, for which ChooseSlots finds slots; 0: none.
int MostSeats(const Model& model, DecodeStepOptions options, const StepMemory& memory, const ops::Backend& backend);

// A slot beyond the selection saves a transfer for every block that comes back; twice the selection leaves a few misses
// a lane (docs/performance.md, "On a GPU").
inline constexpr int kMostSlack = 2;

}  // namespace nosa::model
