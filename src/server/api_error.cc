#include "server/api_error.h"

#include <algorithm>

namespace nosa::server {
namespace {

// At least one second: a header of 0 would have clients ask in a loop.
std::optional<int> RetryAfter(const std::optional<std::chrono::milliseconds>& wait) {
  if (!wait) return std::nullopt;
  return static_cast<int>(std::max<int64_t>(1, (wait->count() + 999) / 1000));
}

io::OrderedJson OrNull(const std::string& text) { return text.empty() ? io::OrderedJson() : io::OrderedJson(text); }

}  // namespace

ApiError BadField(std::string param, std::string message, std::string code) {
  return {.message = std::move(message), .param = std::move(param), .code = std::move(code)};
}

ApiError ErrorOf(const Status& status) {
  ApiError error = {.message = std::string(status.message())};
  switch (status.code()) {
    case StatusCode::kInvalidArgument: break;
    case StatusCode::kResourceExhausted: error.code = "resource_exhausted"; break;
    case StatusCode::kUnavailable:
      error.http_status = 503;
      error.type = "server_error";
      error.code = "unavailable";
      error.retry_after = 1;
      break;
    case StatusCode::kCancelled:
      error.http_status = 503;
      error.type = "server_error";
      error.code = "cancelled";
      break;
    case StatusCode::kDeadlineExceeded:
      error.http_status = 504;
      error.type = "server_error";
      error.code = "timeout";
      break;
    default:
      error.http_status = 500;
      error.type = "server_error";
      error.code = "internal_error";
      break;
  }
  return error;
}

ApiError ErrorOf(const engine::Refusal& refusal) {
  using Cause = engine::Refusal::Cause;
  ApiError error = {.message = std::string(refusal.status.message()), .retry_after = RetryAfter(refusal.retry_after)};
  switch (refusal.cause) {
    case Cause::kBadRequest: break;
    case Cause::kTooLarge: error.code = "context_length_exceeded"; break;
    case Cause::kRateLimit:
    case Cause::kConcurrency:
      error.http_status = 429;
      error.type = "rate_limit_error";
      error.code = "rate_limit_exceeded";
      if (!error.retry_after) error.retry_after = 1;
      break;
    case Cause::kQueueFull:
      error.http_status = 503;
      error.type = "server_error";
      error.code = "overloaded";
      if (!error.retry_after) error.retry_after = 1;
      break;
    case Cause::kDraining:
      error.http_status = 503;
      error.type = "server_error";
      error.code = "shutting_down";
      break;
  }
  return error;
}

io::OrderedJson ToJson(const ApiError& error) {
  io::OrderedJson json;
  io::OrderedJson& body = json["error"];
  body["message"] = error.message;
  body["type"] = error.type;
  body["param"] = OrNull(error.param);
  body["code"] = OrNull(error.code);
  return json;
}

HttpReply ToReply(const ApiError& error) {
  HttpReply reply = {.status = error.http_status, .body = io::DumpJson(ToJson(error))};
  if (error.retry_after) reply.headers.emplace_back("Retry-After", std::to_string(*error.retry_after));
  if (error.http_status == 401) reply.headers.emplace_back("WWW-Authenticate", "Bearer");
  return reply;
}

}  // namespace nosa::server
