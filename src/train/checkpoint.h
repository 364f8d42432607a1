// What a run leaves on the disk: a model directory that the engine loads, and the state that the run goes on from.
#pragma once

#include <filesystem>
#include <optional>

#include "train/adamw.h"

namespace nosa::train {

// Writes config.json (what `other` says, under what the parameters' config says) and model.safetensors, each
// atomically, the weights rounded to `dtype`.
Status SaveModel(const Parameters& parameters, const io::Json& other, DType dtype,
                 const std::filesystem::path& directory);

// Beside parameters and moments.
struct RunState {
  int64_t step = 0;        // steps done
  uint64_t log_bytes = 0;  // of log.jsonl that belong to them
  io::OrderedJson decisive;
};

// Writes `directory`/training-state/step-N.safetensors, whole or not at all, then removes older ones: at any moment a
// whole one is there. kResourceExhausted when the disk is full: then the last good one stays.
Status SaveState(const Parameters& parameters, const AdamW& optimizer, const RunState& state,
                 const std::filesystem::path& directory);
// The newest state below `directory`; nothing when there is none.
std::optional<std::filesystem::path> FindState(const std::filesystem::path& directory);
// Reads it back; kDataLoss or kInvalidArgument (names tensor and both shapes) leave parameters and moments unspecified.
Result<RunState> LoadState(const std::filesystem::path& file, Parameters* parameters, AdamW* optimizer);
// Removes files that a killed writer left behind in the directory and below training-state.
void RemoveLeftovers(const std::filesystem::path& directory);

}  // namespace nosa::train
