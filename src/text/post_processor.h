// Tokens around the text: the "post_processor" of tokenizer.json, for one text.
#pragma once

#include <vector>

#include "base/ids.h"
#include "base/status.h"
#include "io/json.h"
#include "text/vocabulary.h"

namespace nosa::text {

struct PostProcessor {
  std::vector<TokenId> before;
  std::vector<TokenId> after;

  // `config` is the value of "post_processor": null, ByteLevel (which only moves offsets), TemplateProcessing, of
  // which "single" is read, or a Sequence of these. Ids must be in `vocabulary`. Errors name the
  // field.
  static Result<PostProcessor> FromJson(const io::Json& config, const Vocabulary& vocabulary);
};

}  // namespace nosa::text
