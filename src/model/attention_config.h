// What attention needs to know of a model, from what its checkpoint says.
#pragma once

#include "attention/config.h"
#include "schema/model_config.h"

namespace nosa::model {

// `kv_dtype`: of cached keys and values.
attention::AttentionConfig AttentionConfigOf(const schema::ModelConfig& config, DType kv_dtype);

}  // namespace nosa::model
