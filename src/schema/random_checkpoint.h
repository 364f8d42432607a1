// Checkpoints made of random numbers: real files of any shape, for tests and benchmarks.
#pragma once

#include <cstdint>
#include <filesystem>

#include "base/status.h"
#include "io/json.h"
#include "schema/model_config.h"

namespace nosa::schema {

// The config.json that ParseModelConfig reads back as `config` (has_importance aside: the tensors say
// that). sparse_config is written when config.sparse_config_given.
io::Json ConfigToJson(const ModelConfig& config);

// Writes config.json and model.safetensors to `directory`, which is made if it does not exist. Holds
// delta and A when config.has_importance. The weights are a pure function of (config, seed, dtype):
// scaled so that activations stay near 1, logits spread by about 2, and importance differs between
// tokens enough to change which blocks are selected. `dtype` is kF32 or kBF16 and becomes the file's.
// Fails with kInvalidArgument when `config` would not be read back, and as the writers of io fail.
// Memory: the whole checkpoint, until it is written. Time: about 50 ns per weight.
Status WriteRandomCheckpoint(const std::filesystem::path& directory, const ModelConfig& config, uint64_t seed,
                             DType dtype);

}  // namespace nosa::schema
