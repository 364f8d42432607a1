// Shapes for speed measurements without a trained model.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "schema/model_config.h"

namespace nosa::model {

// "8b": the NOSA-8B shape (32 layers, hidden 4096, 32 heads, 2 KV heads, head size 128, SwiGLU 14336, vocabulary
// 73,448); "3b" and "1b" in proportion. kInvalidArgument lists the names.
Result<schema::ModelConfig> RandomConfig(std::string_view shape);
std::vector<std::string> RandomConfigNames();

}  // namespace nosa::model
