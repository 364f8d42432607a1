// Tokens around the text: the "post_processor" of tokenizer.json, for one text.
#pragma once

#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "io/json.h"

namespace nosa::text {

struct PostProcessor {
  std::vector<TokenId> before;
  std::vector<TokenId> after;

  // `config` is the value of "post_processor": null, ByteLevel (which only moves offsets), TemplateProcessing, of
  // which "single" is read, or a Sequence of these. Ids must be below `vocab_size`. Errors name the field.
  static Result<PostProcessor> FromJson(const io::Json& config, int32_t vocab_size);
};

}  // namespace nosa::text
