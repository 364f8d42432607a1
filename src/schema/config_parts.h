// The parts of `config.json` that have a file of their own. Private to this room.
#pragma once

#include "schema/config_fields.h"
#include "schema/model_config.h"

namespace nosa::schema::internal {

// `rope_theta` and `rope_scaling`, or `rope_parameters`, which newer files have instead and which wins.
// kUnimplemented for a scaling other than default, linear and llama3.
Result<RopeConfig> ParseRope(const Fields& config);

// The object `sparse_config`; what it does not say keeps the default of the struct. Validated.
Result<SparseConfig> ParseSparse(const Fields& config);

}  // namespace nosa::schema::internal
