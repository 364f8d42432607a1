// Reads tokenizer.json.
#pragma once

#include "io/json.h"
#include "text/bpe_tokenizer.h"

namespace nosa::text {

// Errors name the field; the caller adds the file. "truncation" and "padding" are ignored: they are not about ids.
Result<TokenizerParts> ParseTokenizer(const io::Json& root);

}  // namespace nosa::text
