// The bodies of POST /tokenize and /detokenize.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/ids.h"
#include "io/json.h"
#include "server/api_error.h"
#include "server/chat_format.h"
#include "text/tokenizer.h"

namespace nosa::server {

struct TokenizeRequest {
  std::optional<std::string> model;
  std::vector<TokenId> ids;  // of the text or the conversation, or those to be made a text
};

// `body`: any JSON. Encodes what it says.
std::optional<ApiError> ParseTokenizeRequest(const io::OrderedJson& body, const text::Tokenizer& tokenizer,
                                             const ChatFormat& format, TokenizeRequest* request);
// `body`: any JSON. Every id is one of the vocabulary.
std::optional<ApiError> ParseDetokenizeRequest(const io::OrderedJson& body, const text::Tokenizer& tokenizer,
                                               TokenizeRequest* request);

}  // namespace nosa::server
