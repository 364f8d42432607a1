// The body of POST /v1/completions.
#pragma once

#include <vector>

#include "base/ids.h"
#include "server/generation_params.h"
#include "text/tokenizer.h"

namespace nosa::server {

struct CompletionRequest {
  GenerationParams params;
  std::vector<std::vector<TokenId>> prompts;  // at least one, none empty
  int best_of = 1;                            // at least params.choices
  bool echo = false;
};

// What a body may ask for in all, so that one request cannot take every place of the queue.
struct RequestLimits {
  int most_choices = 128;  // prompts times best_of
};

// `body`: any JSON. `tokenizer` encodes prompts that are texts.
std::optional<ApiError> ParseCompletionRequest(const io::OrderedJson& body, const text::Tokenizer& tokenizer,
                                               const RequestLimits& limits, GrammarCache* grammars,
                                               CompletionRequest* request);

// An array of token ids, each below `vocab`. `place` names it in the error.
std::optional<ApiError> ParseTokenIds(std::string_view place, const io::OrderedJson& array, int vocab,
                                      std::vector<TokenId>* ids);

}  // namespace nosa::server
