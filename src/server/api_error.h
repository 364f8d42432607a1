// Errors as OpenAI's API writes them: a status code and {"error": {"message", "type", "param", "code"}}.
#pragma once

#include <optional>
#include <string>

#include "base/status.h"
#include "engine/service.h"
#include "io/json.h"
#include "server/http.h"

namespace nosa::server {

struct ApiError {
  int http_status = 400;
  std::string type = "invalid_request_error";
  std::string message;
  std::string param = {};               // the field that is wrong; "" is null on the wire
  std::string code = {};                // a word for programs; "" is null on the wire
  std::optional<int> retry_after = {};  // seconds, as the header Retry-After
};

// 400 about one field.
ApiError BadField(std::string param, std::string message, std::string code = "");

// What went wrong below. kInvalidArgument is 400, kResourceExhausted 400 (it can never fit; the message says what
// would), kUnavailable 503, kDeadlineExceeded 504, the rest 500.
ApiError ErrorOf(const Status& status);

// A request that the service did not take: 400, 429 or 503, with the time after which it is worth asking again.
ApiError ErrorOf(const engine::Refusal& refusal);

// {"error": ...}, for a body or an event of a stream.
io::OrderedJson ToJson(const ApiError& error);
HttpReply ToReply(const ApiError& error);

}  // namespace nosa::server
