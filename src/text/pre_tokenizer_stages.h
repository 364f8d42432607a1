// The kinds of pre-tokenizers, by their "type" in tokenizer.json.
#pragma once

#include <memory>
#include <string_view>

#include "text/pre_tokenizer.h"

namespace nosa::text {

// Errors name `field`, where `config` stands in the file.
Result<std::unique_ptr<const PreTokenizerStage>> MakePreTokenizerStage(std::string_view type, const io::Json& config,
                                                                       std::string_view field);

}  // namespace nosa::text
